"""Several partitions: each command reaches the one that has its SKU, and no other."""

from msgspec import structs

from atp_service.inventory.commands import (
    Confirm,
    Heartbeat,
    Hold,
    HoldLine,
    Park,
    Release,
    Replace,
    fingerprint,
)
from atp_service.inventory.outcomes import (
    Applied,
    Confirmed,
    Held,
    InsufficientStock,
    NotFound,
    Parked,
    ReservationIdReused,
    SpansPartitions,
)
from atp_service.store import Store
from tests.store.test_door import hold, receipt, replace

SKUS = ["LAMP", "ROPE", "NEW"]  # each in a partition of its own, if there are three


def cart(*skus: str) -> Hold:
    lines = [HoldLine(line_id=sku, sku=sku, location="DC", quantity=1) for sku in skus]
    return Hold(reservation_id="cart", lines=lines, fingerprint=fingerprint(lines), ttl_ms=900_000)


async def stocked(store: Store) -> None:
    await store.apply_all([receipt(sku, 5, sku=sku) for sku in SKUS])


async def test_every_partition_has_its_skus_and_an_entry_says_where(
    store: Store, partitions: int
) -> None:
    outcomes = await store.apply_all([receipt(sku, 5, sku=sku) for sku in SKUS])
    places = [outcome.entry for outcome in outcomes if isinstance(outcome, Applied)]
    assert {place.partition for place in places} == set(range(partitions))
    for sku, place in zip(SKUS, places, strict=True):
        assert place.partition == store.partition_of(sku).number
    assert await store.last_entries() == sorted(
        {place.partition: place for place in places}.values(), key=lambda place: place.partition
    )
    asked = [(sku, "DC") for sku in ("NEW", "LAMP", "NOTHING", "ROPE", "LAMP")]
    levels = await store.levels(asked)
    assert [level and level.on_hand for level in levels] == [5, 5, None, 5, 5]
    assert await store.locations_of(["ROPE", "NOTHING", "LAMP"]) == [["DC"], [], ["DC"]]


async def test_a_cart_over_two_partitions_is_refused_by_name_and_takes_nothing(
    store: Store, partitions: int
) -> None:
    await stocked(store)
    outcome = await store.apply(cart("LAMP", "ROPE", "LAMP-2"))
    if partitions == 1:
        assert isinstance(outcome, InsufficientStock)  # there is no second lamp
        return
    assert isinstance(outcome, SpansPartitions)
    assert "ROPE" in [line.line_id for line in outcome.lines]
    assert "LAMP" not in [line.line_id for line in outcome.lines]
    levels = await store.levels([(sku, "DC") for sku in SKUS])
    assert [level and level.reserved for level in levels] == [0, 0, 0]


async def test_a_call_that_names_only_the_reservation_finds_it(store: Store) -> None:
    await stocked(store)
    for sku in SKUS:
        assert isinstance(await store.apply(hold(f"of-{sku}", sku=sku)), Held)
    for sku in SKUS:
        assert await store.reservation(f"of-{sku}") is not None
        confirmed = await store.apply(Confirm(reservation_id=f"of-{sku}", order_id=sku))
        assert isinstance(confirmed, Confirmed)
        assert confirmed.entry.partition == store.partition_of(sku).number
    assert await store.apply(Release(reservation_id="of-nothing")) == NotFound()


async def test_a_hold_and_its_confirm_may_come_in_one_call(store: Store) -> None:
    await stocked(store)
    for sku in SKUS:
        both = [hold(sku, sku=sku), Confirm(reservation_id=sku, order_id=f"order-{sku}")]
        held, confirmed = await store.apply_all(both)
        assert isinstance(held, Held)
        assert isinstance(confirmed, Confirmed)


async def test_an_id_that_another_partition_has_is_reused_and_not_held_twice(store: Store) -> None:
    await stocked(store)
    assert isinstance(await store.apply(hold("cart", sku="LAMP")), Held)
    assert await store.apply(hold("cart", sku="ROPE")) == ReservationIdReused()
    (rope,) = await store.levels([("ROPE", "DC")])
    assert rope is not None
    assert rope.reserved == 0


async def test_other_lines_of_another_partition_do_not_take_a_reservation_along(
    store: Store, partitions: int
) -> None:
    await stocked(store)
    await store.apply(hold("cart", sku="LAMP"))
    lines = cart("ROPE").lines
    ropes: Replace = structs.replace(replace("cart", 1), lines=lines, fingerprint="ropes")
    outcome = await store.apply(ropes)
    if partitions == 1:
        assert isinstance(outcome, Held)
        return
    assert outcome == SpansPartitions(lines)
    assert isinstance(await store.apply(replace("cart", 2)), Held)


async def test_a_feed_is_as_fresh_as_the_partition_that_heard_it_last(store: Store) -> None:
    await stocked(store)
    beat = Heartbeat(source="wms/dc", event_id="beat", occurred_at_ms=7_000)
    assert isinstance(await store.apply(beat), Applied)
    seen = (await store.feeds(["wms/dc", "unknown"]))["wms/dc"]
    assert seen.occurred_at_ms == 7_000


async def test_what_names_no_sku_is_kept_once_wherever_it_goes(store: Store) -> None:
    parked = Park(
        source="wms/dc",
        event_id="odd",
        occurred_at_ms=1_000,
        reason="malformed",
        owner="integration",
        subject="",
        detail="",
        payload="{",
    )
    first, again = await store.apply_all([parked, parked])
    assert isinstance(first, Parked)
    assert not isinstance(again, Parked)
    assert sum(entry.seq for entry in await store.last_entries()) == 1
