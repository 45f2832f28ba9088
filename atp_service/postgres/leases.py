"""The right to do something alone: an advisory lock on a connection of its own.

Postgres ends the lock if its holder dies, is frozen, or is silent for too long.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from atp_service.postgres.unavailable import unavailable_when_away

# A frozen holder must not keep the lease: Postgres ends a session that is silent for so long.
SILENCE_SECONDS: Final = 10
_CONNECT_SECONDS: Final = 3
_SESSION: Final = f"""
SET idle_session_timeout = '{SILENCE_SECONDS}s';
SET idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s';
SET synchronous_commit = on;
"""


@asynccontextmanager
async def leased(
    url: str, verb: str, partition: int, *, statement_seconds: int = 60
) -> AsyncIterator[AsyncConnection[Any] | None]:
    """The connection that has the right to `verb` the partition; None while another has it.

    A statement on it takes `statement_seconds` at most. Raises Unavailable when it connects; the
    statements of the block raise psycopg's errors.
    """
    with unavailable_when_away():
        connection = await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=_CONNECT_SECONDS
        )
    async with connection:
        with unavailable_when_away():
            session = f"{_SESSION} SET statement_timeout = '{statement_seconds}s';"
            await connection.execute(session.encode())
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(hashtext(%s), %s)", (f"atp {verb}", partition)
            )
            row = await cursor.fetchone()
        try:
            yield connection if row is not None and row[0] else None
        finally:
            # The session's end frees the lock too, but only some time after it is closed here.
            with suppress(psycopg.Error):
                await connection.execute("SELECT pg_advisory_unlock_all()")
