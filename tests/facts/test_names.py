"""Unknown names are created on first sight if that is set, else looked for once more."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from atp_service.catalog import Catalog, Feed, Location, Sku
from tests.retailer import DC, STORE, Retailer, event, retailer


@pytest.fixture
async def open_shop(redis_url: str, ledger_url: str) -> AsyncIterator[Retailer]:
    """A retailer that creates every name on first sight."""
    async with retailer(redis_url, ledger_url, auto_create=True) as running:
        yield running


async def elsewhere(shop: Retailer) -> Catalog:
    """Master data as another process reads it."""
    catalog = Catalog(shop.pool)
    await catalog.load()
    return catalog


async def test_new_names_are_created_on_first_sight(open_shop: Retailer) -> None:
    told = [
        event("receipt", source="wms/new", sku=f"NEW-{n}", location="DC-9", quantity=1)
        for n in range(50)
    ]
    assert set(await open_shop.statuses(*told)) == {"applied"}
    known = await elsewhere(open_shop)
    assert {f"NEW-{n}" for n in range(50)} <= set(known.skus)
    assert known.locations["DC-9"].channels is None
    assert (known.feeds["wms/new"].kind, known.feeds["wms/new"].locations) == ("wms", ["DC-9"])


async def test_a_feed_gains_the_locations_it_speaks_of(open_shop: Retailer) -> None:
    way: dict[str, Any] = {"from": DC, "to": STORE, "document": "T-1"}
    await open_shop.tell(event("transfer_shipped", source="oms", quantity=1, **way))
    await open_shop.tell(event("sale", source="oms", location="store-2", quantity=1))
    known = await elsewhere(open_shop)
    assert sorted(known.feeds["oms"].locations) == [DC, "store-2"]


async def test_a_transfer_does_not_put_the_sender_behind_the_receiver(open_shop: Retailer) -> None:
    way: dict[str, Any] = {"from": "DC-9", "to": "store-9", "document": "T-1"}
    shipped = event("transfer_shipped", source="wms/dc-9", quantity=3, **way)
    received = event("transfer_received", source="pos/store-9", quantity=3, **way)
    assert await open_shop.statuses(shipped, received) == ["applied", "applied"]
    known = await elsewhere(open_shop)
    assert {"DC-9", "store-9"} <= set(known.locations)
    assert [feed.id for feed in known.feeds_of("store-9")] == ["pos/store-9"]
    assert [feed.id for feed in known.feeds_of("DC-9")] == ["wms/dc-9"]


async def test_a_heartbeat_makes_a_feed_known_that_spoke_of_no_location(
    open_shop: Retailer,
) -> None:
    assert await open_shop.statuses(event("heartbeat", source="pos/new")) == ["applied"]
    assert (await elsewhere(open_shop)).feeds["pos/new"].locations == []


async def test_a_name_that_cannot_be_one_is_not_created(open_shop: Retailer) -> None:
    assert await open_shop.statuses(event("sale", sku="a{b", quantity=1)) == ["parked"]
    assert "a{b" not in (await elsewhere(open_shop)).skus


async def test_what_another_process_has_just_created_is_found(shop: Retailer) -> None:
    office = await elsewhere(shop)
    await office.put(Sku(sku="NEW-9"))
    await office.put(Location(id="DC-9"))
    await office.put(Feed(id="wms/new"))
    told = event("receipt", source="wms/new", sku="NEW-9", location="DC-9", quantity=1)
    assert await shop.statuses(told) == ["applied"]
