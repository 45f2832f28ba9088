"""The ledger, asked with little patience: while it is away, nothing else may wait for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from atp_service.ledger import Ledger, Unavailable

PATIENCE_SECONDS: Final = 3.0
PAUSE_SECONDS: Final = 2.0


class Recall:
    """What the ledger remembers. Raises Unavailable, and then for a while without asking."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._paused_until = 0.0

    async def seen_events(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the (source, event id) that are recorded."""
        async with self._impatiently():
            return await self._ledger.seen_events(keys)

    async def deltas_after(self, sku: str, location: str, at_ms: int) -> tuple[int, int]:
        """A position, and the level's on_hand deltas up to it that happened after `at_ms`."""
        async with self._impatiently():
            return await self._ledger.deltas_after(sku, location, at_ms)

    @asynccontextmanager
    async def _impatiently(self) -> AsyncIterator[None]:
        if time.monotonic() < self._paused_until:
            raise Unavailable("the ledger was away a moment ago")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield
        except (Unavailable, TimeoutError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise Unavailable(str(error) or "the ledger didn't answer in time") from error
