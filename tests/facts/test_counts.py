"""A count is merged, by time, with the deltas around it, whichever comes first."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tests.retailer import DC, STORE, TILL, Retailer, event, now_ms, retailer

MINUTE = 60_000
Settle = Callable[[], Awaitable[None]]


async def test_the_first_count_of_a_level_sets_it(shop: Retailer) -> None:
    assert await shop.statuses(event("count", quantity=12)) == ["applied"]
    assert await shop.on_hand() == 12


async def test_what_was_sold_after_the_count_is_taken_off_it(
    shop: Retailer, ledger_url: str
) -> None:
    counted_at = now_ms() - 10 * MINUTE
    async with shop.recording(ledger_url):
        await shop.tell(
            event("receipt", quantity=10, at_ms=counted_at - MINUTE),
            event("sale", quantity=2, at_ms=counted_at + MINUTE),
        )
        await shop.tell(event("count", quantity=9, at_ms=counted_at))
    assert await shop.on_hand() == 7


async def test_a_sale_of_before_the_count_that_comes_after_it_is_absorbed(shop: Retailer) -> None:
    counted_at = now_ms() - 10 * MINUTE
    await shop.tell(event("count", quantity=9, at_ms=counted_at))
    late = event("sale", quantity=2, at_ms=counted_at - 1)
    at_once = event("sale", quantity=2, at_ms=counted_at)
    after = event("sale", quantity=2, at_ms=counted_at + 1)
    assert await shop.statuses(late, at_once, after) == ["absorbed", "absorbed", "applied"]
    assert await shop.on_hand() == 7


async def test_an_older_count_says_nothing_new(shop: Retailer) -> None:
    at_ms = now_ms() - 10 * MINUTE
    await shop.tell(event("count", quantity=9, at_ms=at_ms))
    older = event("count", quantity=100, at_ms=at_ms - MINUTE)
    assert await shop.statuses(older) == ["absorbed"]
    assert await shop.on_hand() == 9


async def test_a_count_sees_the_deltas_before_it_in_the_same_call(shop: Retailer) -> None:
    at_ms = now_ms() - 10 * MINUTE
    statuses = await shop.statuses(
        event("receipt", quantity=10, at_ms=at_ms - MINUTE),
        event("sale", quantity=2, at_ms=at_ms + MINUTE),
        event("count", quantity=9, at_ms=at_ms),
        event("sale", quantity=1, at_ms=at_ms + 2 * MINUTE),
        event("count", quantity=20, at_ms=at_ms + MINUTE + 1),
    )
    assert statuses == ["applied"] * 5
    assert await shop.on_hand() == 19


async def test_deltas_count_whether_the_ledger_has_them_or_only_the_journal(
    shop: Retailer, ledger_url: str
) -> None:
    counted_at = now_ms() - 10 * MINUTE
    async with shop.recording(ledger_url):
        await shop.tell(event("receipt", quantity=10, at_ms=counted_at - MINUTE))
        await shop.tell(event("sale", quantity=1, at_ms=counted_at + MINUTE))
    # The recorder has stopped: from here on only the journal knows.
    await shop.tell(event("sale", quantity=2, at_ms=counted_at + MINUTE))
    await shop.tell(event("sale", quantity=4, at_ms=counted_at - MINUTE))
    await shop.tell(event("count", quantity=9, at_ms=counted_at))
    assert await shop.on_hand() == 6


async def test_a_transfer_counts_at_both_its_ends(shop: Retailer) -> None:
    counted_at = now_ms() - 10 * MINUTE
    way: dict[str, Any] = {"from": DC, "to": STORE, "document": "T-1"}
    await shop.tell(
        event("transfer_shipped", quantity=3, at_ms=counted_at + MINUTE, **way),
        event("transfer_received", quantity=3, at_ms=counted_at + 2 * MINUTE, **way),
        event("count", quantity=10, at_ms=counted_at),
        event("count", quantity=1, at_ms=counted_at, location=STORE),
    )
    assert (await shop.on_hand(), await shop.on_hand(location=STORE)) == (7, 4)


async def test_counts_and_sales_at_the_same_time_by_many_callers_agree(shop: Retailer) -> None:
    counted_at = now_ms() - 10 * MINUTE
    await shop.tell(event("receipt", quantity=500, at_ms=counted_at - MINUTE))

    async def sell(till: int) -> None:
        for n in range(20):
            sold = event(
                "sale", id=f"{till}-{n}", source=TILL, quantity=1, at_ms=counted_at + n + 1
            )
            assert await shop.statuses(sold) == ["applied"]

    async def recount() -> None:
        stock_take = event("count", quantity=400, at_ms=counted_at)
        while await shop.statuses(stock_take) == ["waiting"]:
            pass

    await asyncio.gather(sell(1), recount(), sell(2), sell(3))
    assert await shop.on_hand() == 400 - 60


@pytest.fixture(params=["ledger", "journal"])
async def known_to(request: pytest.FixtureRequest, shop: Retailer, ledger_url: str) -> Settle:
    """What has happened by the time of the next count is open."""

    async def settle() -> None:
        if request.param == "ledger":
            async with shop.recording(ledger_url):
                pass

    return settle


@pytest.mark.parametrize("ahead_ms", [1, 200_000, 290_000])
async def test_a_count_by_a_clock_that_is_ahead_is_no_later_than_its_arrival(
    shop: Retailer, known_to: Settle, ahead_ms: int
) -> None:
    await shop.tell(event("receipt", quantity=10, at_ms=now_ms() - MINUTE))
    await shop.tell(event("count", quantity=8, at_ms=now_ms() + ahead_ms))
    await known_to()
    await shop.tell(event("count", quantity=8, at_ms=now_ms() + 1))
    assert await shop.on_hand() == 8


async def test_a_sale_by_a_clock_that_is_ahead_is_no_later_than_its_arrival(
    shop: Retailer, known_to: Settle
) -> None:
    counted_before = now_ms() - 1
    await shop.tell(event("receipt", quantity=10, at_ms=counted_before - MINUTE))
    await shop.tell(event("sale", quantity=1, at_ms=now_ms() + 2 * MINUTE))
    await known_to()
    await shop.tell(event("count", quantity=20, at_ms=counted_before))
    assert await shop.on_hand() == 19
    # Whoever counts afterwards has seen that it is gone.
    await shop.tell(event("count", quantity=9, at_ms=now_ms() + 1))
    assert await shop.on_hand() == 9


Told = tuple[str, int, int]


def trade() -> st.SearchStrategy[list[Told]]:
    """Deltas and counts of one level in any order: milliseconds before, at and after each other."""
    moment = st.integers(0, 8)
    deltas = st.lists(
        st.tuples(st.sampled_from(["sale", "receipt", "adjustment"]), moment, st.integers(1, 9)),
        max_size=7,
    )
    counts = st.lists(
        st.tuples(st.just("count"), moment, st.integers(0, 50)),
        max_size=3,
        unique_by=lambda told: told[1],
    )
    return st.tuples(deltas, counts).flatmap(lambda both: st.permutations(both[0] + both[1]))


def on_hand_by_time(told: list[Told]) -> int:
    """The latest count, and what happened after it."""
    counts = [(at, quantity) for kind, at, quantity in told if kind == "count"]
    counted_at, on_hand = max(counts, default=(-1, 0))
    for kind, at, quantity in told:
        if kind != "count" and at > counted_at:
            on_hand += -quantity if kind == "sale" else quantity
    return on_hand


class Histories:
    """A retailer with a new SKU for each history, while the recorder follows."""

    def __init__(self, runner: asyncio.Runner, shop: Retailer) -> None:
        self._runner = runner
        self._shop = shop
        self._numbers = count(1)

    def on_hand_after(self, told: list[Told], at_once: bool) -> int:
        return self._runner.run(self._tell(f"H-{next(self._numbers)}", told, at_once))

    async def _tell(self, sku: str, told: list[Told], at_once: bool) -> int:
        start_ms = now_ms() - 10 * MINUTE
        events = [
            event(kind, sku=sku, at_ms=start_ms + at, quantity=quantity)
            for kind, at, quantity in told
        ]
        for group in [events] if at_once else [[one] for one in events]:
            assert set(await self._shop.statuses(*group)) <= {"applied", "absorbed"}
        return await self._shop.on_hand(sku)


@pytest.fixture
def histories(_redis_server: str, ledger_url: str) -> Iterator[Histories]:
    async def begin() -> Retailer:
        async with Redis.from_url(_redis_server) as client:
            await client.flushall()
        shop = await stack.enter_async_context(
            retailer(_redis_server, ledger_url, auto_create=True)
        )
        await stack.enter_async_context(shop.recording(ledger_url))
        return shop

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield Histories(runner, runner.run(begin()))
        runner.run(stack.aclose())


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=trade(), at_once=st.booleans())
def test_on_hand_does_not_depend_on_the_order_of_arrival(
    histories: Histories, told: list[Told], at_once: bool
) -> None:
    """No order in which news arrives may change the number; every order is tried."""
    assert histories.on_hand_after(told, at_once) == on_hand_by_time(told)
