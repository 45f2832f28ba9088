"""The pause of a loop that ends at a stop event."""

import asyncio


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Return after `seconds`, or as soon as the stop comes; True if it came."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
