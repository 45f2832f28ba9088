"""How much of the time a run works: selling comes first."""

import asyncio
import time


class Throttle:
    """Rests in proportion to the work. On a busy machine work takes longer, and so do the rests."""

    def __init__(self, share: float) -> None:
        """`share` is the part of the time that is spent working, at most."""
        self._rest_per_work = (1 - share) / share
        self._since = time.monotonic()

    async def rest(self) -> None:
        worked = time.monotonic() - self._since
        await asyncio.sleep(worked * self._rest_per_work)
        self._since = time.monotonic()
