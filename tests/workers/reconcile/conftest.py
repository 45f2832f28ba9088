"""A stock that is recorded, and whoever compares it."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.partitions import partitions
from tests.recorders import recording
from tests.workers.reconcile.trade import Shop

__all__ = ["partitions", "shop", "window_ms"]


@pytest.fixture
def window_ms() -> int:
    """How long what is closed is remembered."""
    return 86_400_000


@pytest.fixture
async def shop(
    redis_url: str, redis: Redis, database_url: str, window_ms: int, partitions: int
) -> AsyncIterator[Shop]:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=4, timeout=2.0) as pool:
        ledger = Ledger(pool)
        store = Store(redis_url, partitions=partitions, name="reconcile-test", window_ms=window_ms)
        try:
            await store.open(ledger)
            async with recording(store, database_url):
                yield Shop(store, ledger, redis, database_url)
        finally:
            await store.close()
            await ledger.close()
