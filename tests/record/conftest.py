"""A stock in an empty Redis, and an empty ledger that knows it."""

from collections.abc import AsyncIterator

import pytest

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.ledger.conftest import empty_ledger, ledger

__all__ = ["empty_ledger", "ledger", "stock"]


@pytest.fixture
async def stock(redis_url: str, ledger: Ledger) -> AsyncIterator[Store]:
    opened = Store(redis_url, name="test")
    await opened.open(ledger)
    yield opened
    await opened.close()
