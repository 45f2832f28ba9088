"""Pauses that end at once when the shop closes."""

import asyncio
from random import Random

from atp_service.pause import pause


class Pauses:
    """Each returns True if the shop is still open. With `speed` 2 they take half the time."""

    def __init__(self, closing: asyncio.Event, speed: float = 1.0) -> None:
        self._closing = closing
        self._speed = speed

    async def about(self, seconds: float, random: Random) -> bool:
        """A random pause of `seconds` on average."""
        return await self.exactly(min(random.expovariate(1 / seconds), 10 * seconds))

    async def exactly(self, seconds: float) -> bool:
        """A pause of `seconds`."""
        return not await pause(self._closing, seconds / self._speed)
