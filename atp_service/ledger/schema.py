"""Bring a database's schema up to date, and let the service's role in."""

from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, sql

from atp_service.postgres import TooOld, check_version

# The package `migrations` stands beside this one, in a checkout as in an installed wheel.
_MIGRATIONS = Path(__file__).parents[2] / "migrations"

_REVISION: Final = "SELECT version_num FROM alembic_version"
_OF_0_1_0: Final = tuple(f"{number:04}" for number in range(1, 9))

# Appended rows are never changed; the position and the projections are.
_GRANTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};
GRANT INSERT ON entries, movements, events, traces, parked, snapshot_lines, forks TO {role};
GRANT INSERT, UPDATE ON positions, levels, reservations, orders, exceptions TO {role};
GRANT DELETE ON levels TO {role};
GRANT INSERT, UPDATE ON reconciliations, rebuilds, streams_recorded TO {role};
GRANT INSERT, UPDATE, DELETE ON locations, skus, channels, feeds, keyed_calls TO {role};
GRANT INSERT, DELETE ON sku_aliases TO {role};
GRANT EXECUTE ON FUNCTION make_slices(bigint, bigint) TO {role};
"""


def migrate(url: str, service_role: str | None = None) -> None:
    """Apply the missing migrations, as the owner that `url` names. Processes may call it at once.

    `service_role` gets the rights the service needs and no more. None, or the owner itself: one
    role does everything. Raises TooOld, and psycopg's errors.
    """
    with psycopg.connect(url) as connection:
        check_version(connection.info.server_version)
        revision = _revision(connection)
        _check_revision(revision)
    if revision != _newest():
        _upgrade(url)
    with psycopg.connect(url) as connection:
        if service_role is not None and service_role != _role(connection):
            role = sql.Identifier(service_role)
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('atp migrate'))")
            connection.execute(sql.SQL(_GRANTS).format(role=role))


async def check_ledger(connection: AsyncConnection[Any]) -> None:
    """Raises TooOld if version 0.1.0 has written the ledger; psycopg's UndefinedTable if the
    database was not migrated."""
    cursor = await connection.execute(_REVISION)
    row = await cursor.fetchone()
    _check_revision(row[0] if row else None)


def check_newest(connection: psycopg.Connection[Any]) -> None:
    """Raises TooOld if the database's schema is not the one of this version's migrations; psycopg's
    UndefinedTable if the database was not migrated."""
    row = connection.execute(_REVISION).fetchone()
    revision = row[0] if row else None
    _check_revision(revision)
    if revision != _newest():
        raise TooOld(
            f"the schema in Postgres is {revision}, this version reads {_newest()} alone: "
            "run `atp migrate`, or the version that migrated it"
        )


def _check_revision(revision: str | None) -> None:
    if revision in _OF_0_1_0:
        raise TooOld(
            "The ledger in Postgres was written by 0.1.0, which this version does not read. "
            "Start with an empty database; for `atp up`, remove its data folder."
        )


def _upgrade(url: str) -> None:
    # Imported here: alembic takes longer to load than everything else at a start.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def _revision(connection: psycopg.Connection[tuple[str]]) -> str | None:
    try:
        row = connection.execute(_REVISION).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[0] if row else None


def _newest() -> str:
    """The revision of the last migration: its file's name starts with the number."""
    number = max(_MIGRATIONS.glob("versions/[0-9]*.py")).name.partition("_")[0]
    return f"0.2_{number}"


def _role(connection: psycopg.Connection[tuple[str]]) -> str | None:
    row = connection.execute("SELECT current_user").fetchone()
    return row[0] if row else None
