"""A pool with little patience: no caller waits long for a Postgres that is away, or hangs.

A query that takes too long is ended by cutting its connection, which the pool then replaces. To
ask a server that hangs to cancel it would be one more wait, on a connection in an unknown state.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from psycopg import AsyncConnection, OperationalError
from psycopg.abc import Params, QueryNoTemplate
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from atp_service.postgres.unavailable import Unavailable, unavailable_when_away

PATIENCE_SECONDS: Final = 2.5
RETRY_SECONDS: Final = 0.5


class ImpatientPool:
    """Once a caller has waited in vain, the next are refused at once, until Postgres returns."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._pool = pool
        self._probing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The address, for a connection beside the pool: a listening one, say."""
        if not isinstance(self._pool.conninfo, str):
            raise TypeError("the pool's conninfo must be a text")
        return self._pool.conninfo

    @asynccontextmanager
    async def connection(
        self, seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection for `seconds`; its changes are committed at the end of the block.

        Raises Unavailable, also for the statements of the block.
        """
        if self._probing is not None:
            raise Unavailable("Postgres did not answer a moment ago")
        with unavailable_when_away():
            try:
                async with self._connection(seconds) as connection:
                    yield connection
            except PoolTimeout:
                self._suspect()
                raise

    async def rows(
        self,
        query: QueryNoTemplate,
        values: Params | None = None,
        *,
        seconds: float = PATIENCE_SECONDS,
    ) -> list[Any]:
        """The rows of one statement, as tuples; its changes are committed. Raises Unavailable."""
        async with self.connection(seconds) as connection:
            # To begin and to commit would be two more round trips.
            await connection.set_autocommit(True)
            try:
                async with connection.cursor(binary=True) as cursor:
                    await cursor.execute(query, values)
                    return [] if cursor.description is None else await cursor.fetchall()
            finally:
                if not connection.closed:
                    await connection.set_autocommit(False)

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
        """End the connection under the statement that waits on it."""
        self._suspect()
        if not connection.closed:
            line = socket.socket(fileno=connection.fileno())
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.detach()

    def _suspect(self) -> None:
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask until Postgres returns something."""
        try:
            while True:
                try:
                    async with self._connection(PATIENCE_SECONDS) as connection:
                        await connection.execute("SELECT")
                        return
                except PoolClosed:
                    return
                except OperationalError:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._probing = None
