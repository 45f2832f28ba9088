"""A Redis that lost writes is rebuilt from the ledger, with nobody awake."""

import asyncio


async def run(*, stop: asyncio.Event) -> None:
    """Look after the partition until told to stop."""
    await stop.wait()
