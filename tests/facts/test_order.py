"""Facts come in any order; the numbers are the same in the end."""

from typing import Any

import pytest

from atp_service.inventory.commands import Confirm, Hold, HoldLine, fingerprint
from atp_service.inventory.outcomes import Confirmed, Held
from tests.retailer import DC, STORE, Retailer, event

TRANSFER: dict[str, Any] = {"from": DC, "to": STORE, "document": "T-1"}


async def test_a_transfer_leaves_one_location_and_arrives_at_the_other(shop: Retailer) -> None:
    await shop.tell(event("transfer_shipped", quantity=4, eta="2026-12-01", **TRANSFER))
    assert (await shop.on_hand(), await shop.incoming("T-1", STORE)) == (-4, 4)
    await shop.tell(event("transfer_received", quantity=4, **TRANSFER))
    assert (await shop.on_hand(location=STORE), await shop.incoming("T-1", STORE)) == (4, 0)


async def test_a_transfer_may_arrive_before_the_news_that_it_left(shop: Retailer) -> None:
    await shop.tell(event("transfer_received", to=STORE, document="T-1", quantity=4))
    assert (await shop.on_hand(location=STORE), await shop.incoming("T-1", STORE)) == (4, 0)
    await shop.tell(event("transfer_shipped", quantity=4, **TRANSFER))
    assert (await shop.on_hand(), await shop.incoming("T-1", STORE)) == (-4, 0)


async def test_a_receipt_may_come_before_its_purchase_order(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=30, document="PO-1"))
    await shop.tell(event("incoming", quantity=40, document="PO-1", eta="2026-12-01"))
    assert (await shop.on_hand(), await shop.incoming("PO-1")) == (30, 10)


async def test_of_two_expectations_the_later_by_time_wins(shop: Retailer) -> None:
    later = event("incoming", quantity=40, document="PO-1", at_ms=1_795_000_002_000 - 10**10)
    earlier = event("incoming", quantity=10, document="PO-1", at_ms=1_795_000_001_000 - 10**10)
    assert await shop.statuses(later) == ["applied"]
    assert await shop.statuses(earlier) == ["absorbed"]
    assert await shop.incoming("PO-1") == 40


async def held(shop: Retailer, quantity: int) -> None:
    lines = [HoldLine(line_id="1", sku="SKU-1", location=DC, quantity=quantity)]
    hold = Hold(reservation_id="cart-1", lines=lines, fingerprint=fingerprint(lines), ttl_ms=60_000)
    assert isinstance(await shop.store.apply(hold), Held)


async def confirmed(shop: Retailer) -> None:
    outcome = await shop.store.apply(Confirm(reservation_id="cart-1", order_id="order-1"))
    assert isinstance(outcome, Confirmed)


async def test_a_sale_that_names_an_order_fulfils_it_instead_of_counting_twice(
    shop: Retailer,
) -> None:
    await shop.tell(event("receipt", quantity=10))
    await held(shop, 3)
    await confirmed(shop)
    await shop.tell(event("sale", quantity=3, order_id="order-1"))
    level = await shop.level()
    assert (level.on_hand, level.reserved, level.allocated) == (7, 0, 0)


async def test_a_sale_may_name_an_order_that_is_confirmed_later(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=10))
    await held(shop, 3)
    await shop.tell(event("sale", quantity=3, order_id="order-1"))
    await confirmed(shop)
    level = await shop.level()
    assert (level.on_hand, level.reserved, level.allocated) == (7, 0, 0)


@pytest.mark.parametrize("kind", ["sale", "shipment"])
async def test_units_beyond_the_reservation_are_a_plain_sale(shop: Retailer, kind: str) -> None:
    await shop.tell(event("receipt", quantity=10))
    await held(shop, 3)
    await confirmed(shop)
    await shop.tell(event(kind, quantity=5, reservation_id="cart-1"))
    level = await shop.level()
    assert (level.on_hand, level.reserved, level.allocated) == (5, 0, 0)


async def test_a_shipment_sent_twice_ships_once(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=10))
    await held(shop, 3)
    await confirmed(shop)
    shipped = event("shipment", quantity=3, order_id="order-1", shipment_id="S-1")
    assert await shop.statuses(shipped, shipped) == ["applied", "duplicate"]
    assert await shop.on_hand() == 7
