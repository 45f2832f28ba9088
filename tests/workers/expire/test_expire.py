"""Units of lapsed holds can be sold again, with no traffic at all, and at nobody's expense."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atp_service.inventory.outcomes import Held
from atp_service.workers import expire
from tests.builders import hold
from tests.retailer import Retailer, event, until


@asynccontextmanager
async def expiring(shop: Retailer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    reaper = asyncio.create_task(expire.run(shop.store.partition_of("SKU-1"), stop=stop))
    try:
        yield
    finally:
        stop.set()
        await reaper


async def test_a_lapsed_hold_s_units_are_back_within_a_second_without_any_traffic(
    shop: Retailer,
) -> None:
    await shop.tell(event("receipt", quantity=3))
    async with expiring(shop):
        asked_at = time.monotonic()
        assert isinstance(
            await shop.store.apply(hold("cart-1", "SKU-1", quantity=3, ttl_ms=300)), Held
        )
        held_at = time.monotonic()

        async def sellable() -> bool:
            return (await shop.level()).atf == 3

        await until(sellable)
        back_at = time.monotonic()
        # Redis cuts its clock to the millisecond before it adds the ttl.
        assert back_at - asked_at >= 0.299
        assert back_at - held_at <= 1.3
    reservation = await shop.store.reservation("cart-1")
    assert reservation is not None
    assert reservation.status == "expired"


async def test_a_hold_that_is_not_due_stays(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=3))
    await shop.store.apply(hold("cart-1", "SKU-1", ttl_ms=60_000))
    await shop.store.apply(hold("cart-2", "SKU-1", ttl_ms=1))
    async with expiring(shop):

        async def one_is_back() -> bool:
            return (await shop.level()).reserved == 1

        await until(one_is_back)
    assert (await shop.level()).reserved == 1


async def test_twenty_thousand_holds_that_lapse_together_stall_nobody(shop: Retailer) -> None:
    count = 20_000
    await shop.tell(event("receipt", quantity=count), event("receipt", sku="SKU-2", quantity=count))
    holds = [hold(f"cart-{number}", "SKU-1", ttl_ms=1) for number in range(count)]
    for start in range(0, count, 2_000):
        await shop.store.apply_all(holds[start : start + 2_000])
    assert (await shop.level()).reserved == count
    numbers, served = itertools.count(count), 0
    async with expiring(shop):
        while (await shop.level()).reserved > 0:
            outcome = await shop.store.apply(hold(f"cart-{next(numbers)}", "SKU-2", ttl_ms=60_000))
            assert isinstance(outcome, Held)
            served += 1
    # Others got their turn between any two of the reaper's.
    assert served > count / expire.AT_ONCE / 4
    assert (await shop.level()).atf == count


async def test_any_number_of_reapers_may_run(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=500))
    await shop.store.apply_all([hold(f"cart-{n}", "SKU-1", ttl_ms=1) for n in range(500)])
    async with expiring(shop), expiring(shop), expiring(shop):

        async def all_are_back() -> bool:
            return (await shop.level()).reserved == 0

        await until(all_are_back)
    assert (await shop.level()).atf == 500
