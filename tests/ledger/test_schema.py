"""Migrating: again, at once with others, and for one role that does everything."""

import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.embedded.postgres import OWNER, SERVICE, Postgres, create_database
from atp_service.ledger import Ledger, check_ledger, lease, migrate, tables
from atp_service.ledger.position import GENESIS
from atp_service.ledger.read import raw_entries
from atp_service.ledger.tables import Table
from atp_service.postgres import TooOld, Unavailable, check_version
from tests.ledger.forged_rows import Writer
from tests.ledger.test_append import append, rows


class Bare(NamedTuple):
    """The addresses of a database without a schema."""

    owner: str
    service: str


@pytest.fixture
def bare(_postgres_server: Postgres) -> Iterator[Bare]:
    admin = _postgres_server.url("postgres", "postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        create_database(connection, "bare")
        yield Bare(_postgres_server.url(OWNER, "bare"), _postgres_server.url(SERVICE, "bare"))
        connection.execute("DROP DATABASE bare WITH (FORCE)")


def test_migrating_again_and_at_once_is_harmless(bare: Bare) -> None:
    migrating = "import sys; from atp_service.ledger import migrate; migrate(*sys.argv[1:])"
    command = [sys.executable, "-c", migrating, bare.owner, SERVICE]
    at_once = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in at_once] == [0, 0, 0]
    migrate(bare.owner, SERVICE)
    assert rows(bare.service, "SELECT count(*) FROM entries") == [(0,)]


def test_an_older_postgres_is_refused_in_one_line(bare: Bare) -> None:
    with psycopg.connect(bare.owner) as connection:
        check_version(connection.info.server_version)
    check_version(150_000)
    with pytest.raises(TooOld, match=r"^PostgreSQL 14.19 is too old: .* needs 15 or later$"):
        check_version(140_019)


async def test_a_database_that_was_not_migrated_says_so(bare: Bare) -> None:
    with pytest.raises(Unavailable, match="atp migrate"):
        async with lease(bare.service, 0):
            pass


async def test_one_role_may_do_everything_and_still_change_nothing(bare: Bare) -> None:
    url = bare.owner
    migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO positions (partition, epoch, seq, digest, chain, run_id) "
            "VALUES (0, 1, 0, '', %s, '')",
            (GENESIS,),
        )
    await append(url, 0, Writer().sale("SKU-1"))
    assert rows(url, "SELECT seq FROM entries") == [(1,)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO channels (id, document) VALUES ('web', '{}')")
        for change in (
            "DELETE FROM entries",
            "DELETE FROM catalog_history",
            "UPDATE catalog_history SET document = NULL",
            "TRUNCATE catalog_history",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                connection.execute(change.encode())


async def test_two_changes_of_one_moment_are_both_remembered_in_their_order(bare: Bare) -> None:
    migrate(bare.owner)
    change = "UPDATE channels SET document = jsonb_build_object('safety_stock', %s)"
    with psycopg.connect(bare.owner) as connection:
        connection.execute("INSERT INTO channels (id, document) VALUES ('web', '{}')")
        # The clock was set back since: what was written last is of later than now.
        connection.execute(
            "INSERT INTO catalog_history VALUES ('channels', 'web', now() + '1 h'::interval, '{}')"
        )
        for units in (1, 2):
            connection.execute(change.encode(), (units,))
    remembered = rows(bare.owner, "SELECT document FROM catalog_history ORDER BY at")
    assert [document for (document,) in remembered] == [
        {},
        {},
        {"safety_stock": 1},
        {"safety_stock": 2},
    ]


async def test_a_ledger_of_0_1_0_is_refused_in_one_line_and_left_as_it_is(bare: Bare) -> None:
    migrate(bare.owner, SERVICE)
    refusal = r"^The ledger in Postgres was written by 0\.1\.0, .* remove its data folder\.$"
    async with await psycopg.AsyncConnection.connect(bare.service) as connection:
        await check_ledger(connection)
    with psycopg.connect(bare.owner) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '0008'")
    with pytest.raises(TooOld, match=refusal):
        migrate(bare.owner, SERVICE)
    async with await psycopg.AsyncConnection.connect(bare.service) as connection:
        with pytest.raises(TooOld, match=refusal):
            await check_ledger(connection)
    # Postgres may be back only after the start: then no part may open or write it either.
    with pytest.raises(TooOld, match=refusal):
        async with lease(bare.service, 0):
            pass
    async with AsyncConnectionPool(bare.service, min_size=1) as pool:
        with pytest.raises(TooOld, match=refusal):
            await Ledger(pool).open(0, 1, "the-redis")
    with pytest.raises(TooOld, match=refusal):
        raw_entries.connect(bare.service)
    assert rows(bare.owner, "SELECT version_num FROM alembic_version") == [("0008",)]
    assert rows(bare.owner, "SELECT FROM positions") == []


async def test_a_verifier_reads_no_schema_but_its_own(bare: Bare) -> None:
    with pytest.raises(Unavailable, match=r"run `atp migrate`$"):
        raw_entries.connect(bare.service)
    migrate(bare.owner, SERVICE)
    raw_entries.connect(bare.service).close()
    with psycopg.connect(bare.owner) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '0.3_0002'")
    with pytest.raises(TooOld, match=r"^the schema in Postgres is 0\.3_0002, .* migrated it$"):
        raw_entries.connect(bare.service)


@pytest.mark.parametrize(
    "table",
    [
        *(tables.ENTRIES, tables.MOVEMENTS, tables.EVENTS, tables.TRACES, tables.SNAPSHOT_LINES),
        *(tables.LEVELS, tables.RESERVATIONS, tables.ORDERS),
    ],
    ids=lambda table: table.name,
)
def test_the_recorder_knows_a_table_as_it_was_created(table: Table, database_url: str) -> None:
    columns = rows(
        database_url,
        f"""
        SELECT attname, typname, attnotnull
        FROM pg_attribute
        JOIN pg_type ON pg_type.oid = atttypid
        WHERE attrelid = '{table.name}'::regclass AND attnum > 0
        ORDER BY attnum
        """,  # a name of ours
    )
    assert columns == [
        (name, type_, name not in table.nullable)
        for name, type_ in zip(table.columns, table.types, strict=True)
    ]
    key = rows(
        database_url,
        f"""
        SELECT attname
        FROM pg_constraint
        CROSS JOIN unnest(conkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute ON attrelid = conrelid AND pg_attribute.attnum = key.attnum
        WHERE conrelid = '{table.name}'::regclass AND contype = 'p'
        ORDER BY place
        """,  # a name of ours
    )
    assert [name for (name,) in key] == list(table.key)
