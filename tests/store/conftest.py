"""Stock of one and of three partitions on one Redis."""

from collections.abc import AsyncIterator
from zlib import crc32

import pytest

from atp_service.store import Store
from tests.partitions import partitions
from tests.store.ledgers import LedgerOfAll

__all__ = ["lamps", "partitions", "store"]


@pytest.fixture
def lamps(partitions: int) -> int:
    """The number of the partition that has the lamps."""
    return crc32(b"LAMP") % partitions


@pytest.fixture
async def store(redis_url: str, partitions: int) -> AsyncIterator[Store]:
    """All partitions, opened and empty."""
    store = Store(redis_url, partitions=partitions)
    await store.open(LedgerOfAll())
    yield store
    await store.close()
