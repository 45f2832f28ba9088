"""Orders, shipments and sales that name each other late, twice or not at all."""

from typing import Any

import pytest
from msgspec import structs
from redis.asyncio import Redis

from atp_service.inventory.commands import (
    Confirm,
    Fulfil,
    Hold,
    HoldLine,
    LineTerms,
    LineUnits,
    Release,
    Sale,
    Shipment,
    Terms,
    fingerprint,
)
from atp_service.inventory.outcomes import (
    Applied,
    Changed,
    Confirmed,
    Duplicate,
    Held,
    InsufficientStock,
    QuantityNotOpen,
    Repeated,
    WrongStatus,
)
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel
from atp_service.store import Store
from tests.builders import fact
from tests.store.test_door import hold, receipt, replace


@pytest.fixture(autouse=True)
async def stocked(store: Store, lamps: int) -> Store:
    """Ten lamps and ten ropes."""
    await store.apply_all([receipt("lamps", 10), receipt("ropes", 10, sku="ROPE")])
    return store


def sale(event_id: str, quantity: int, kind: type[Sale] = Sale, **named: Any) -> Sale:
    place = {"sku": "LAMP", "location": "DC", "quantity": quantity}
    return fact(kind, event_id=event_id, occurred_at_ms=1_000, **place, **named)


async def level_of(store: Store) -> StockLevel:
    (level,) = await store.levels([("LAMP", "DC")])
    assert level is not None
    return level


async def lapsed(store: Store, redis: Redis, reservation_id: str, quantity: int) -> None:
    assert isinstance(await store.apply(hold(reservation_id, quantity, ttl_ms=1)), Held)
    after = await store.now_ms() + 2
    while await store.now_ms() < after:
        await redis.ping()


@pytest.mark.parametrize("named", [{}, {"reservation_id": "cart"}])
async def test_units_sold_after_the_hold_lapsed_are_not_taken_again_by_a_late_confirm(
    store: Store, redis: Redis, named: dict[str, Any]
) -> None:
    await lapsed(store, redis, "cart", 2)
    await store.apply(sale("till", 2, order_id="o-1", **named))
    outcome = await store.apply(Confirm(reservation_id="cart", order_id="o-1"))
    assert isinstance(outcome, Confirmed)
    assert outcome.reservation.status == "fulfilled"
    level = await level_of(store)
    assert (level.on_hand, level.allocated, level.atf) == (8, 0, 8)


async def test_a_sale_waits_for_the_second_reservation_of_its_order(store: Store) -> None:
    lines = [HoldLine(line_id="1", sku="ROPE", location="DC", quantity=1)]
    rope = Hold(reservation_id="rope", lines=lines, fingerprint=fingerprint(lines), ttl_ms=900_000)
    await store.apply_all([rope, hold("lamp", 2), Confirm(reservation_id="rope", order_id="o")])
    await store.apply(sale("till", 2, order_id="o"))
    await store.apply(Confirm(reservation_id="lamp", order_id="o"))
    level = await level_of(store)
    assert (level.on_hand, level.reserved, level.allocated) == (8, 0, 0)


async def test_a_truck_carries_many_orders_and_each_leaves_once(store: Store) -> None:
    for name in ("a", "b"):
        await store.apply_all([hold(name, 2), Confirm(reservation_id=name, order_id=f"o-{name}")])
    first = await store.apply(Fulfil(reservation_id="a", shipment_id="truck"))
    assert isinstance(first, Changed)
    assert first.reservation.status == "fulfilled"
    told = [
        sale(f"wms-{name}", 2, Shipment, order_id=f"o-{name}", shipment_id="truck")
        for name in ("a", "b", "b")
    ]
    told[2] = sale("wms-again", 2, Shipment, order_id="o-b", shipment_id="truck")
    outcomes = await store.apply_all(told)
    assert outcomes[0] == Duplicate()
    assert isinstance(outcomes[1], Applied)
    assert outcomes[2] == Duplicate()
    again = await store.apply(Fulfil(reservation_id="b", shipment_id="truck"))
    assert isinstance(again, Repeated)
    level = await level_of(store)
    assert (level.on_hand, level.allocated) == (6, 0)


async def test_a_truck_s_goods_for_carts_that_nobody_knows_count_each(store: Store) -> None:
    told = [
        sale(name, 1, Shipment, reservation_id=name, shipment_id="truck") for name in ("x", "y")
    ]
    assert all(isinstance(outcome, Applied) for outcome in await store.apply_all(told))
    # The truck's plain goods, before and after those of a cart.
    await store.apply_all([hold("a", 1), Confirm(reservation_id="a", order_id="o")])
    for event_id, quantity, named in (("plain", 3, {}), ("a", 1, {"reservation_id": "a"})):
        outcome = await store.apply(
            sale(event_id, quantity, Shipment, shipment_id="truck", **named)
        )
        assert isinstance(outcome, Applied)
    level = await level_of(store)
    assert (level.on_hand, level.allocated) == (4, 0)


@pytest.mark.parametrize("units", [2, 5])
async def test_a_shipment_told_before_its_confirm_is_known_again_when_it_is_fulfilled(
    store: Store, units: int
) -> None:
    early = sale("wms", units, Shipment, order_id="o", shipment_id="truck")
    await store.apply_all([hold("cart", 5), early, Confirm(reservation_id="cart", order_id="o")])
    part = [LineUnits(line_id="1", quantity=units)]
    told = await store.apply(Fulfil(reservation_id="cart", lines=part, shipment_id="truck"))
    assert isinstance(told, Repeated)
    level = await level_of(store)
    assert (level.on_hand, level.allocated) == (10 - units, 5 - units)


async def test_the_second_cart_of_an_order_leaves_on_the_truck_that_the_first_left_on_early(
    store: Store,
) -> None:
    early = sale("wms", 2, Shipment, order_id="o", shipment_id="truck")
    await store.apply_all([hold("a", 2), hold("b", 3), early])
    await store.apply_all([Confirm(reservation_id=name, order_id="o") for name in ("a", "b")])
    assert isinstance(await store.apply(Fulfil(reservation_id="b", shipment_id="truck")), Changed)
    assert isinstance(await store.apply(Fulfil(reservation_id="a", shipment_id="truck")), Repeated)
    level = await level_of(store)
    assert (level.on_hand, level.allocated) == (5, 0)


async def test_one_order_id_on_every_sale_stays_small(store: Store, redis: Redis) -> None:
    await store.apply_all([sale(str(i), 1, order_id="WALKIN") for i in range(2_000)])
    blob = await redis.hget(store.partition_of("LAMP").keys.orders, "WALKIN")
    assert blob is not None
    assert len(blob) < 100
    assert (await level_of(store)).on_hand == 10 - 2_000


async def test_what_is_given_back_of_a_lapsed_hold_is_not_taken_again(
    store: Store, redis: Redis
) -> None:
    await lapsed(store, redis, "cart", 3)
    part = [LineUnits(line_id="1", quantity=1)]
    outcome = await store.apply(Release(reservation_id="cart", lines=part))
    assert isinstance(outcome, Changed)
    assert (outcome.reservation.status, outcome.reservation.lines[0].released) == ("expired", 1)
    too_many = [LineUnits(line_id="1", quantity=3)]
    assert isinstance(
        await store.apply(Release(reservation_id="cart", lines=too_many)), QuantityNotOpen
    )
    line = LineTerms(line_id="1", sku="LAMP", location="DC")
    terms = Terms(channel="", generation=1, lines=[line])
    confirmed = await store.apply(Confirm(reservation_id="cart", order_id="o", terms=terms))
    assert isinstance(confirmed, Confirmed)
    assert confirmed.reservation.lines[0].allocated == 2
    assert (await level_of(store)).allocated == 2


async def test_who_asks_for_all_is_not_answered_with_the_part_that_was_held(store: Store) -> None:
    partial = structs.replace(hold("cart", 12), allow_partial=True)
    held = await store.apply(partial)
    assert isinstance(held, Held)
    assert held.reservation.lines[0].reserved == 10
    all_of_it = replace("cart", 12)
    assert isinstance(await store.apply(all_of_it), InsufficientStock)
    assert isinstance(await store.apply(structs.replace(all_of_it, allow_partial=True)), Repeated)
    await store.apply(receipt("more", 5))
    outcome = await store.apply(all_of_it)
    assert isinstance(outcome, Held)
    assert (outcome.reservation.generation, outcome.reservation.lines[0].reserved) == (2, 12)


async def test_a_released_reservation_is_not_confirmed_late(store: Store, redis: Redis) -> None:
    await lapsed(store, redis, "cart", 2)
    outcome = await store.apply(Release(reservation_id="cart"))
    assert isinstance(outcome, Changed)
    released: Reservation = outcome.reservation
    assert (released.status, released.lines[0].released) == ("released", 2)
    late = await store.apply(Confirm(reservation_id="cart", order_id="o"))
    assert isinstance(late, WrongStatus)
