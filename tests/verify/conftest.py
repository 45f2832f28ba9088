"""A shop with a past, whose Redis and ledger are its own."""

import pytest

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.verify.shop import Shop, a_past
from tests.workers.record.conftest import empty_ledger, ledger, stock

__all__ = ["empty_ledger", "ledger", "stock"]


@pytest.fixture
async def shop(empty_ledger: str, migration_url: str, stock: Store, ledger: Ledger) -> Shop:
    shop = Shop(empty_ledger, migration_url, stock, ledger)
    await shop.trade(*a_past())
    return shop
