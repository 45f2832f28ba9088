"""The right to do something alone: an advisory lock on a connection of its own.

Postgres ends the lock if its holder dies, is frozen, or is silent for too long. Its time-outs miss
some holders: a pipeline ends with a Flush, and then no time-out runs until the next statement. The
next process that wants the lease ends these.
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
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext(%s), %s)"
_END_SILENT: Final = """
SELECT pg_terminate_backend(pid)
FROM pg_locks
JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory'
  AND database = datid
  AND classid = hashtext(%s)::oid
  AND objid = %s
  AND granted
  AND wait_event = 'ClientRead'
  AND state_change < now() - make_interval(secs => %s)
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
            lock = (f"atp {verb}", partition)
            row = await (await connection.execute(_LOCK, lock)).fetchone()
            has_lease = row is not None and row[0]
            if not has_lease:
                await connection.execute(_END_SILENT, (*lock, SILENCE_SECONDS))
        try:
            yield connection if has_lease else None
        finally:
            # The session's end frees the lock too, but only some time after it is closed here.
            with suppress(psycopg.Error):
                await connection.execute("SELECT pg_advisory_unlock_all()")
