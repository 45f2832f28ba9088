"""A recorder in a process of its own, to be killed and frozen: recorder.py REDIS DATABASE."""

import asyncio
import sys

from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger
from atp_service.store import Store
from atp_service.workers import record


async def main(redis_url: str, database_url: str, partitions: str) -> None:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=2) as pool:
        store = Store(redis_url, partitions=int(partitions), name="recorder")
        await store.open(Ledger(pool))
        stop = asyncio.Event()
        await asyncio.gather(
            *(record.run(partition, database_url, stop=stop) for partition in store.partitions)
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
