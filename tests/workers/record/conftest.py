"""A stock in an empty Redis, and an empty ledger that knows it."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.ledger.conftest import empty_ledger

__all__ = ["empty_ledger", "ledger", "stock"]


@pytest.fixture
async def ledger(empty_ledger: str) -> AsyncIterator[Ledger]:
    """The empty ledger; it is the stock that begins it."""
    async with AsyncConnectionPool(empty_ledger, min_size=1, max_size=3, timeout=2.0) as pool:
        unopened = Ledger(pool)
        yield unopened
        await unopened.close()


@pytest.fixture
async def stock(redis_url: str, ledger: Ledger) -> AsyncIterator[Store]:
    opened = Store(redis_url, name="test")
    await opened.open(ledger)
    yield opened
    await opened.close()
