"""One connection to Redis: requests go out together, replies come back together.

It never retries by itself: the caller decides what may be sent twice. redis-py would retry ten
times, also when only the reply was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from atp_service.gatherer import Gatherer
from atp_service.store.errors import Unavailable

Request = tuple[Any, ...]
OnConnect = Callable[["Wire"], Awaitable[None]]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0


class Wire:
    """`on_connect` is awaited on every new connection, before anything else is asked on it."""

    def __init__(self, url: str, *, name: str, on_connect: OnConnect | None = None) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            client_name=name,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            # An exchange has its own: redis-py's would be one for each reply, and a task for each
            # sending, in which Python 3.11 may lose a cancellation.
            socket_timeout=None,
            protocol=2,
        )
        self._connection: AbstractConnection | None = None
        self._on_connect = on_connect

    async def exchange(
        self, requests: Sequence[Request], *, seconds: float = ANSWER_SECONDS
    ) -> list[Any]:
        """The replies, in order; an error reply is a value among them. Raises Unavailable."""
        connection = self._connection or await self._connect()
        try:
            async with asyncio.timeout(seconds):
                return await _ask(connection, requests)
        except (RedisError, OSError, TimeoutError) as fault:
            await self.close()
            raise Unavailable(str(fault) or type(fault).__name__) from fault
        except asyncio.CancelledError:
            # A reply may still be on its way: this connection would hand it to the next asker.
            await self.close()
            raise

    async def _connect(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as fault:
            await connection.disconnect(nowait=True)
            raise Unavailable(str(fault) or type(fault).__name__) from fault
        self._connection = connection
        if self._on_connect is not None:
            try:
                await self._on_connect(self)
            except BaseException:
                await self.close()
                raise
        return connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _ask(connection: AbstractConnection, requests: Sequence[Request]) -> list[Any]:
    # In C: redis-py's asyncio connection packs in Python, which for a batch is most of the work.
    packed = [pack_command(request) for request in requests]
    await connection.send_packed_command(packed, check_health=False)
    replies: list[Any] = []
    for _ in requests:
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies


class Reader:
    """Reads of many callers on one wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._gatherer: Gatherer[Sequence[Request], list[Any]] = Gatherer(
            self._read_all, unavailable=Unavailable
        )

    async def ask(self, *requests: Request) -> list[Any]:
        """The replies, in order. Raises Unavailable, also for an error reply."""
        replies = await self._gatherer.ask(requests)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise Unavailable(str(reply)) from reply
        return replies

    async def _read_all(self, asked: Sequence[Sequence[Request]]) -> list[list[Any]]:
        replies = iter(await self._read([request for requests in asked for request in requests]))
        return [list(islice(replies, len(requests))) for requests in asked]

    async def _read(self, requests: Sequence[Request]) -> list[Any]:
        """The replies. A connection that was idle while Redis restarted is dead: reads may ask
        twice. A Redis that hangs is not asked twice."""
        try:
            return await self._wire.exchange(requests)
        except Unavailable as fault:
            if isinstance(fault.__cause__, TimeoutError):
                raise
            return await self._wire.exchange(requests)

    async def close(self) -> None:
        self._gatherer.close()
        await self._wire.close()
