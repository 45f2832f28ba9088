"""An empty ledger for each test, in the module's database."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger
from tests.partitions import partitions

__all__ = ["ledger", "partition", "partitions"]


@pytest.fixture
def partition(partitions: int) -> int:
    """The last of the partitions: those before it are there and empty."""
    return partitions - 1


@pytest.fixture
async def ledger(database_url: str, partitions: int) -> AsyncIterator[Ledger]:
    """The empty ledger, its partitions opened in epoch 1."""
    async with AsyncConnectionPool(database_url, min_size=1, max_size=3, timeout=2.0) as pool:
        opened = Ledger(pool)
        for number in range(partitions):
            await opened.open(number, 1, "the-redis")
        yield opened
        await opened.close()
