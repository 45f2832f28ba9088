"""A reconciler in a process of its own, to be frozen: reconciler.py REDIS DATABASE PARTITIONS."""

import asyncio
import sys

from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger
from atp_service.store import Store
from atp_service.workers import reconcile


async def main(redis_url: str, database_url: str, partitions: str) -> None:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=2) as pool:
        ledger = Ledger(pool)
        store = Store(redis_url, partitions=int(partitions), name="reconciler")
        await store.open(ledger)
        await reconcile.run(store, ledger, database_url, stop=asyncio.Event(), every_seconds=0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
