"""Redis emptied, set back, or forked while holds arrive: nobody is awake, and it is open again.

What cannot happen: a promise on a Redis that left the ledger; an acknowledged change that the
ledger had, or the fork itself, and that is gone afterwards without anybody being told.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from redis.asyncio import Redis

from atp_service.inventory.commands import Confirm, Sale
from atp_service.inventory.outcomes import (
    Applied,
    Confirmed,
    Duplicate,
    Held,
    InsufficientStock,
    Repeated,
)
from atp_service.metrics import REGISTRY
from atp_service.store import Fenced, Store, Unavailable
from atp_service.workers import expire
from tests import builders
from tests.builders import receipt
from tests.retailer import DC, TILL, WAREHOUSE, Retailer, event, until
from tests.workers.rebuild.rebuild_setup import (
    contents,
    copy_of,
    hold,
    looked_after,
    on_the_fork,
    order,
    put_back,
    tools,
)


def sale(event_id: str, quantity: int = 1, order_id: str | None = None) -> Sale:
    return builders.sale("SKU-1", quantity, source=TILL, event_id=event_id, order_id=order_id)


async def opened_in(shop: Retailer, epoch: int) -> None:
    async def so() -> bool:
        try:
            await shop.store.levels([("SKU-1", DC)])
        except (Fenced, Unavailable):
            return False
        return shop.store.partition_of("SKU-1").epoch == epoch

    await until(so, 30.0)


@asynccontextmanager
async def shoppers(shop: Retailer) -> AsyncIterator[Counter[str]]:
    """Holds arrive all the while; what they were told is counted."""
    told: Counter[str] = Counter()
    fences: list[Fenced] = []
    stop = asyncio.Event()

    async def buy(name: int) -> None:
        for number in count():
            if stop.is_set():
                return
            try:
                outcome = await shop.store.apply(hold(f"shopper-{name}-{number}", ttl_ms=60_000))
                told[type(outcome).__name__] += 1
            except Fenced as fence:
                fences.append(fence)
                told["fenced"] += 1
                await asyncio.sleep(0.01)
            except Unavailable:
                told["unavailable"] += 1
            await asyncio.sleep(0.005)

    buying = [asyncio.create_task(buy(name)) for name in range(3)]
    try:
        yield told
    finally:
        stop.set()
        await asyncio.gather(*buying)
    assert all(fence.cause == "lost" for fence in fences)
    assert all(1 <= fence.retry_after_seconds <= 5 for fence in fences)


async def test_an_emptied_redis_is_open_again_with_all_that_the_ledger_had(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", id="R-1", quantity=10_000))
        await shop.store.apply_all([hold("cart", 3), *order("bought", 2), sale("S-1", 4)])
        await shop.tell(event("sale", id="early", source=TILL, quantity=1, order_id="o-late"))
        await shop.recorded()
        before = await contents(redis)
        async with shoppers(shop) as told:
            await redis.flushall()
            await opened_in(shop, 2)

            async def selling() -> bool:
                return told["Held"] > 0

            await until(selling)
        assert told["fenced"]
        after = await contents(redis)
        for kind in ("reservations", "orders", "deadlines", "seen"):
            if kind == "seen":
                assert after[kind] >= before[kind]
            else:
                assert {k: after[kind].get(k) for k in before[kind]} == before[kind], kind
        assert await shop.statuses(event("receipt", id="R-1", quantity=10_000)) == ["duplicate"]
        assert await shop.store.apply(sale("S-1", 4)) == Duplicate()
        assert isinstance(await shop.store.apply(hold("cart", 3)), Repeated)
        confirmed = await shop.store.apply(Confirm(reservation_id="cart", order_id="o-late"))
        assert isinstance(confirmed, Confirmed)
        level = await shop.level()
        assert (level.on_hand, level.allocated) == (10_000 - 4 - 1, 2 + 3 - 1)
        await shop.recorded()


async def test_a_redis_emptied_before_anything_was_recorded_is_fenced_and_begun_in_a_new_epoch(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    await shop.tell(event("receipt", quantity=5))
    assert isinstance(await shop.store.apply(hold("cart", 3)), Held)
    await redis.flushall()
    with pytest.raises(Fenced) as told:
        await shop.store.apply(hold("other", 3))
    assert told.value.cause == "lost"
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await opened_in(shop, 2)
        assert isinstance(await shop.store.apply(hold("cart", 3)), InsufficientStock)
        await shop.tell(event("receipt", quantity=5))
        assert isinstance(await shop.store.apply(hold("cart", 3)), Held)
        await shop.recorded()


async def test_a_hold_s_deadline_survives_the_rebuild(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.store.apply_all([hold("short", 2, ttl_ms=3_000), hold("long", 1)])
        await shop.recorded()
        await redis.flushall()
        await opened_in(shop, 2)
        stop = asyncio.Event()
        reaper = asyncio.create_task(expire.run(shop.store.partition_of("SKU-1"), stop=stop))

        async def one_left() -> bool:
            return (await shop.level()).reserved == 1

        await until(one_left)
        stop.set()
        await reaper
        reservation = await shop.store.reservation("short")
        assert reservation is not None
        assert reservation.status == "expired"


async def test_a_redis_set_back_to_an_old_copy_catches_up_without_a_reconnect(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply_all([hold("cart", 4), sale("S-1", 2)])
        await shop.recorded()
        await put_back(redis, old)
        await opened_in(shop, 2)
        level = await shop.level()
        assert (level.on_hand, level.reserved) == (8, 4)
        assert isinstance(await shop.store.apply(hold("more", 5)), InsufficientStock)


async def test_what_a_fork_acknowledged_is_applied_again_and_what_no_longer_fits_is_told(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.store.apply(hold("old-cart", 1))
        await shop.recorded()
        old = await copy_of(redis)
        # What the ledger goes on to have: of ten, one is held and six are gone.
        await shop.store.apply_all([*order("ledgers", 4), sale("S-both", 2)])
        await shop.recorded()

    # A replica that has missed that is promoted, and sells on what it knows.
    await put_back(redis, old)
    told = await on_the_fork(
        redis,
        sale("S-both", 2),
        *order("fits", 2),
        Confirm(reservation_id="old-cart", order_id="o-old"),
        *order("late", 4),
        receipt("SKU-1", 1, source=WAREHOUSE, event_id="R-fork"),
        hold("open", 1, ttl_ms=600_000),
        hold("over", 1, ttl_ms=1),
    )
    kinds = [Applied, Held, Confirmed, Confirmed, Held, Confirmed, Applied, Held, Held]
    assert [type(outcome) for outcome in told] == kinds
    open_then = told[7]
    assert isinstance(open_then, Held)

    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        # 10 - 2 sold, once, + 1 received; promised: 4 + 2 + 1; held: 1, and 1 that has lapsed.
        level = await shop.level()
        assert (level.on_hand, level.allocated, level.reserved) == (9, 7, 2)
        for cart, status in (
            ("fits", "confirmed"),
            ("old-cart", "confirmed"),
            ("open", "held"),
            ("over", "expired"),
        ):
            reservation = await shop.store.reservation(cart)
            assert reservation is not None
            assert reservation.status == status
        held = await shop.store.reservation("open")
        assert held is not None
        assert abs(held.expires_at - open_then.reservation.expires_at) < 1_000
        assert await shop.store.reservation("late") is None
        (conflict,) = await shop.ledger.exceptions(kind="fork-conflict")
        assert (conflict.reference, conflict.owner) == ("order-of-late", "ecommerce")
        assert conflict.count == 2  # its hold and its confirm
        assert b'"reservation_id":"late"' in (conflict.payload or b"")
        assert await shop.store.apply(sale("S-both", 2)) == Duplicate()


async def test_a_fork_that_forms_under_a_recorder_is_noticed_without_a_reconnect(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply_all([sale("S-1"), sale("S-2")])
        await shop.recorded()
        await put_back(redis, old)
        await on_the_fork(redis, sale("F-1"), sale("F-2"), sale("F-3"))
        await opened_in(shop, 2)
        assert await shop.on_hand() == 10 - 2 - 3


async def test_what_continues_the_ledger_is_nobody_s_fork(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
    # Nobody records; then the epoch is gone.
    await shop.store.apply_all([hold("cart", 2), sale("S-1")])
    await redis.hdel(shop.store.partition_of("SKU-1").keys.meta, "epoch")
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        level = await shop.level()
        assert (level.on_hand, level.reserved, level.version) == (9, 2, 3)


async def test_a_ledger_that_is_behind_rebuilds_nothing_and_says_so(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    await shop.tell(event("receipt", quantity=10))
    await shop.store.apply_all([sale("S-1"), sale("S-2"), hold("cart")])
    # The recorder had recorded two entries; then the ledger was set back to before them.
    last = (await shop.store.partition_of("SKU-1").journal.entries(2, 1))[0]
    await shop.store.partition_of("SKU-1").journal.trim(last.seq, last.digest)
    before = await contents(redis)
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        late = await retailers_view(redis_url, shop)
        assert late.cause == "ledger-behind"
        assert "the ledger is behind" in late.reason

        async def said() -> bool:
            return REGISTRY.get_sample_value("atp_ledger_behind") == 1

        await until(said)
        assert (await retailers_view(redis_url, shop)).cause == "ledger-behind"
    after = await contents(redis)
    assert after == before


async def retailers_view(redis_url: str, shop: Retailer) -> Fenced:
    """What somebody who comes now is told."""
    store = Store(redis_url, name="late")
    try:
        with pytest.raises(Fenced) as told:
            await store.open(shop.ledger)
        return told.value
    finally:
        await store.close()
