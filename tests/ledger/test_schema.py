"""Migrating: again, at once with others, and for one role that does everything."""

import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from atp_service.embedded.postgres import OWNER, SERVICE, Postgres, create_database
from atp_service.ledger import Unavailable, lease, migrate
from atp_service.ledger.position import GENESIS
from tests.ledger.by_hand import Writer
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
    await append(url, Writer().sale("SKU-1"))
    assert rows(url, "SELECT seq FROM entries") == [(1,)]
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute("DELETE FROM entries")
