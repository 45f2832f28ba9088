"""Waiting until an entry is in the ledger: one listening connection for all callers."""

import asyncio
import heapq
from collections.abc import Iterator
from itertools import count

import psycopg

from atp_service.inventory.entry_ref import EntryRef
from atp_service.ledger.position import NotRecorded
from atp_service.ledger.write.appender import RECORDED
from atp_service.postgres import Unavailable

_LISTEN_AGAIN_SECONDS = 0.5


class Recorded:
    """How far each partition is recorded. The first wait begins to listen."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reached: dict[int, tuple[int, int]] = {}  # partition: epoch, seq
        self._waiting: dict[int, list[tuple[int, int, asyncio.Future[int]]]] = {}
        self._ticket = count()
        self._listening: asyncio.Task[None] | None = None

    async def wait(self, entry: EntryRef, timeout: float) -> int:
        """The epoch in which the entry's partition got to its seq; NotRecorded if that takes
        longer than `timeout` seconds."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="ledger-recorded")
        epoch, reached = self._reached.get(entry.partition, (0, -1))
        if reached >= entry.seq:
            return epoch
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(entry.partition, [])
        heapq.heappush(waiting, (entry.seq, next(self._ticket), future))
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError as error:
            raise NotRecorded(f"entry {entry.seq} was not recorded within {timeout} s") from error

    async def close(self) -> None:
        """Stop listening; callers that still wait get Unavailable."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        for future in self._pending():
            future.set_exception(Unavailable("closing"))
        self._waiting.clear()

    def _pending(self) -> Iterator[asyncio.Future[int]]:
        for waiting in self._waiting.values():
            for _, _, future in waiting:
                if not future.done():
                    yield future

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except psycopg.Error:
                await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _listen_once(self) -> None:
        connecting = psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with await connecting as connection:
            await connection.execute(f"LISTEN {RECORDED}")
            # The positions that were announced before this connection listened.
            positions = await connection.execute("SELECT partition, epoch, seq FROM positions")
            for partition, epoch, seq in await positions.fetchall():
                self._reach(partition, epoch, seq)
            async for notice in connection.notifies():
                partition, epoch, seq = map(int, notice.payload.split())
                self._reach(partition, epoch, seq)

    def _reach(self, partition: int, epoch: int, seq: int) -> None:
        self._reached[partition] = (epoch, seq)
        waiting = self._waiting.get(partition, [])
        while waiting and waiting[0][0] <= seq:
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(epoch)
