"""How fast to go: selling comes first."""

import asyncio
import time


class Pace:
    """Rests in proportion to what was worked: where others are busy, work takes longer, and so do
    the rests."""

    def __init__(self, share: float) -> None:
        """`share` is that of the time which is spent working, at most."""
        self._rest_per_work = (1 - share) / share
        self._since = time.monotonic()

    async def rest(self) -> None:
        worked = time.monotonic() - self._since
        await asyncio.sleep(worked * self._rest_per_work)
        self._since = time.monotonic()
