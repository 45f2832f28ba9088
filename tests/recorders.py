"""The recorder at work, and waiting until the ledger has what the journals have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atp_service.ledger import Ledger
from atp_service.store import Partition, Store
from atp_service.workers import record

SECONDS = 30.0


@asynccontextmanager
async def recording(store: Store, database_url: str) -> AsyncIterator[None]:
    """Each partition's recorder runs meanwhile."""
    stop = asyncio.Event()
    recorders = [
        asyncio.create_task(record.run(partition, database_url, stop=stop))
        for partition in store.partitions
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*recorders)


async def recorded(store: Store, ledger: Ledger, seconds: float = SECONDS) -> None:
    """Return once the ledger has every entry that the journals have now."""
    for entry in await store.last_entries():
        await ledger.wait_for(entry, seconds)


async def last_seq(stock: Store | Partition) -> int:
    """The latest entry's seq; of several partitions the sum, so how many entries there are."""
    partitions = stock.partitions if isinstance(stock, Store) else (stock,)
    return sum([(await partition.reads.last_entry()).seq for partition in partitions])
