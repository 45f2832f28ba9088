"""Goods that left on a fork's word are gone, whatever has become of their order's reservation."""

import pytest
from redis.asyncio import Redis

from atp_service.inventory.commands import Command, Fulfil, LineUnits, NoPick, Release
from atp_service.inventory.outcomes import Changed, Held, InsufficientStock
from tests.retailer import WAREHOUSE, Retailer, event
from tests.workers.rebuild.rebuild_setup import (
    copy_of,
    hold,
    looked_after,
    on_the_fork,
    order,
    put_back,
    tools,
)
from tests.workers.rebuild.test_interruptions import rebuilding
from tests.workers.rebuild.test_lost_writes import opened_in, sale

RELEASED = Release(reservation_id="cart", key="cancelled")


@pytest.mark.parametrize(
    ("ours", "fork", "on_hand", "atf"),
    [
        pytest.param([RELEASED], [Fulfil(reservation_id="cart")], 3, 3, id="released"),
        pytest.param(
            [RELEASED],
            [
                Fulfil(reservation_id="cart", lines=[LineUnits(line_id="1", quantity=1)]),
                Fulfil(reservation_id="cart", lines=[LineUnits(line_id="1", quantity=1)]),
            ],
            3,
            3,
            id="in two parts",
        ),
        pytest.param(
            [Fulfil(reservation_id="cart", key="ours")],
            [Fulfil(reservation_id="cart", lines=[LineUnits(line_id="1", quantity=2)])],
            3,
            3,
            id="the same units by the ledger's word",
        ),
        pytest.param(
            [RELEASED],
            [NoPick(reservation_id="cart", line_id="1", quantity=2, reason="not_in_stock")],
            3,
            3,
            id="not there",
        ),
        pytest.param(
            [RELEASED],
            [NoPick(reservation_id="cart", line_id="1", quantity=2, reason="damaged")],
            5,
            3,
            id="damaged",
        ),
    ],
)
async def test_what_left_on_the_fork_is_not_sold_again(
    shop: Retailer,
    redis: Redis,
    redis_url: str,
    ledger_url: str,
    ours: list[Command],
    fork: list[Command],
    on_hand: int,
    atf: int,
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.store.apply_all(order("cart", 2))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply_all(ours)
        await shop.recorded()
    await put_back(redis, old)
    # What is promised after they left is promised of what is left.
    told = await on_the_fork(redis, *fork, hold("next", 3))
    assert [type(outcome) for outcome in told] == [Changed] * len(fork) + [Held]
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        level = await shop.level()
        assert (level.on_hand, level.atf, level.reserved) == (on_hand, atf - 3, 3)
        await redis.flushall()
        await opened_in(shop, 3)
        assert await shop.level() == level
        (conflict,) = await shop.ledger.exceptions(kind="fork-conflict")
        assert (conflict.reference, conflict.count) == ("order-of-cart", len(fork))


async def test_a_shipment_that_left_on_the_fork_leaves_once(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(sale("S-ledger", 4))
        await shop.recorded()
    await put_back(redis, old)
    # One is left by the ledger, so the order can't be had again; but its goods are on the truck.
    left = Fulfil(reservation_id="cart", shipment_id="TRUCK-1")
    await on_the_fork(redis, *order("cart", 2), left, hold("next", 1))
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        assert await shop.on_hand() == 5 - 4 - 2
        assert isinstance(await shop.store.apply(hold("other", 1)), InsufficientStock)
        assert await shop.store.reservation("next") is None
        news = event(
            "shipment",
            source=WAREHOUSE,
            quantity=2,
            order_id="order-of-cart",
            shipment_id="TRUCK-1",
        )
        assert await shop.statuses(news) == ["duplicate"]
        assert await shop.on_hand() == 5 - 4 - 2
        await shop.recorded()


async def test_what_left_leaves_once_though_the_rebuild_that_said_so_died(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.store.apply_all(order("cart", 2))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(RELEASED)
        await shop.recorded()
    await put_back(redis, old)
    await on_the_fork(redis, Fulfil(reservation_id="cart"))
    with rebuilding(redis_url, ledger_url, "applied again"):
        pass
    async with looked_after(mending, shop):
        await opened_in(shop, 3)
        await shop.recorded()
        assert await shop.on_hand() == 3
        (conflict,) = await shop.ledger.exceptions(kind="fork-conflict")
        assert conflict.count == 1
