"""Postgres, asked with little patience: while it is away, or hangs, nobody may wait for it long.

A query that takes too long is ended by cutting its connection, which the pool then replaces: asking
a server that hangs to cancel it would be one more wait, and leave a connection nobody can trust.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

PATIENCE_SECONDS: Final = 2.5
ASK_AGAIN_SECONDS: Final = 0.5


class Away(OperationalError):
    """Postgres did not answer somebody else, and has not answered since."""


class Impatient:
    """A pool. Once an asker has waited in vain, others are refused at once, until it answers."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._pool = pool
        self._asking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connection(
        self, seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection for `seconds`; what was done on it is committed at the end of the block.

        Raises psycopg's OperationalError when Postgres is away, or doesn't answer in time.
        """
        if self._asking is not None:
            raise Away("Postgres did not answer a moment ago")
        try:
            async with self._connection(seconds) as connection:
                yield connection
        except PoolTimeout:
            self._doubt()
            raise

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[AsyncConnection[Any]]:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        async with self._pool.connection(timeout=PATIENCE_SECONDS) as connection:
            cutting = loop.call_at(give_up_at, self._cut, connection)
            try:
                yield connection
                await connection.commit()
            finally:
                cutting.cancel()

    def _cut(self, connection: AsyncConnection[Any]) -> None:
        """Whoever waits on the connection sees it end."""
        self._doubt()
        if not connection.closed:
            line = socket.socket(fileno=connection.fileno())
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.detach()

    def _doubt(self) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_until_answered())

    async def _ask_until_answered(self) -> None:
        try:
            while True:
                try:
                    async with self._connection(PATIENCE_SECONDS) as connection:
                        await connection.execute("SELECT")
                        return
                except PoolClosed:
                    return
                except OperationalError:
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
        finally:
            self._asking = None
