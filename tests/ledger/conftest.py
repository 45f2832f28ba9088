"""An empty ledger for each test, in the module's database."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger


@pytest.fixture
def empty_ledger(database_url: str) -> str:
    """The address of a ledger without a position, for the service's role."""
    return database_url


@pytest.fixture
def partition(partitions: int) -> int:
    """The last of the partitions: those before it are there and empty."""
    return partitions - 1


@pytest.fixture
async def ledger(empty_ledger: str, partitions: int) -> AsyncIterator[Ledger]:
    """The empty ledger, its partitions opened in epoch 1."""
    async with AsyncConnectionPool(empty_ledger, min_size=1, max_size=3, timeout=2.0) as pool:
        opened = Ledger(pool)
        for number in range(partitions):
            await opened.open(number, 1, "the-redis")
        yield opened
        await opened.close()
