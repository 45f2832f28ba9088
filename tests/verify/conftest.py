"""A shop with a past, whose Redis and ledger are its own."""

import pytest

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.partitions import partitions
from tests.verify.shop import Shop, a_past

__all__ = ["partitions", "shop"]


@pytest.fixture
async def shop(database_url: str, migration_url: str, stock: Store, ledger: Ledger) -> Shop:
    shop = Shop(database_url, migration_url, stock, ledger)
    await shop.trade(*a_past())
    return shop
