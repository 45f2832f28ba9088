"""Is what was answered in the ledger? Asked for many at once.

Epoch and seq alone don't name an entry: a Redis that was set back gives the same numbers again. The
image that was answered does, since its entry has it byte for byte.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from psycopg import AsyncConnection

from atp_service.inventory.entry_ref import EntryRef

_HAVE = """
SELECT asked.place
FROM unnest(%(partitions)s::integer[], %(seqs)s::bigint[], %(images)s::bytea[])
    WITH ORDINALITY AS asked (partition, seq, image, place)
JOIN entries
  ON entries.partition = asked.partition
 AND entries.seq = asked.seq
WHERE position(asked.image IN entries.images) > 0
"""
_AT_ONCE = 500

Connecting = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]


class Answered:
    """While one query is under way, the next gathers. `ask` raises what the connection raises."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting
        self._waiting: list[tuple[EntryRef, bytes, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, entry: EntryRef, image: bytes) -> bool:
        """Whether the entry has the image."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, image, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                try:
                    there = await self._have(asked)
                except BaseException as fault:
                    for _, _, answer in asked:
                        if not answer.done():
                            answer.set_exception(fault)
                    if not isinstance(fault, Exception):
                        raise
                    continue
                for place, (_, _, answer) in enumerate(asked, 1):
                    if not answer.done():
                        answer.set_result(place in there)
        finally:
            self._task = None

    async def _have(self, asked: list[tuple[EntryRef, bytes, asyncio.Future[bool]]]) -> set[int]:
        values = {
            "partitions": [entry.partition for entry, _, _ in asked],
            "seqs": [entry.seq for entry, _, _ in asked],
            "images": [image for _, image, _ in asked],
        }
        async with self._connecting() as connection:
            cursor = await connection.execute(_HAVE, values)
            return {place for (place,) in await cursor.fetchall()}
