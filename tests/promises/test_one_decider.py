"""Every answer fits some order of what happened, whatever happens while a call is under way.

What cannot happen: a unit held or confirmed of goods that were off sale all the time, a repeat that
is refused, a refusal for a reason that never was, a unit given twice. How it tries: carts of few
names are held, replaced, confirmed and released by three callers at once on a real Redis, while an
operator closes and opens locations, deletes SKUs and lets all deadlines pass.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from atp_service.catalog import Channel, Location, Sku
from atp_service.inventory.commands import Receipt
from atp_service.inventory.outcomes import Refused, ReservationLost
from atp_service.promises import Promise, Promises
from atp_service.promises.requests import (
    ConfirmRequest,
    HoldRequest,
    LineRequest,
    ReleaseRequest,
    ReplaceRequest,
)
from atp_service.promises.service import Caller
from atp_service.store import Partition, Store
from atp_service.store.script import Script
from tests.inventory.agreement import KEYS, START, script_in_hand
from tests.promises.orders import Call, Change, Wanted, fits
from tests.retailer import Retailer

TTL_SECONDS = 900
SKUS, LOCATIONS = ("LAMP", "CHAIR"), ("DC", "S1")
STOCK = 2
EXAMPLES = 60

_wanted: st.SearchStrategy[Wanted] = st.lists(
    st.tuples(st.sampled_from(SKUS), st.sampled_from(LOCATIONS), st.sampled_from([1, 1, 2])),
    min_size=1,
    max_size=2,
    unique_by=lambda line: line[:2],
).map(tuple)
_asked = st.tuples(
    st.sampled_from(["hold", "hold", "hold", "replace", "confirm", "confirm", "release"]),
    st.sampled_from(["c1", "c1", "c2"]),
    _wanted | st.just((("LAMP", "DC", 1),)),
    st.sampled_from([0, 0, 1, 1, 2, 3]),
)
_callers = st.lists(st.lists(_asked, min_size=2, max_size=4), min_size=2, max_size=3)
_changes = st.lists(
    st.tuples(
        st.sampled_from(["LAMP", "DC", "DC", "S1", "deadlines", "deadlines"]),
        st.sampled_from([False, False, True]),
        st.sampled_from(["closed", "channel"]),
    ),
    min_size=2,
    max_size=4,
)


Asked = tuple[str, str, Wanted, int]  # the call, the cart, its lines, and after how many changes


class Shop:
    """A shop whose calls and changes are written down, with the clock in the hand."""

    def __init__(self, retailer: Retailer, redis_url: str, redis: Redis, source: str) -> None:
        partition = Partition(redis_url, 0, name="promises-test", script=Script(source))
        self.store = Store(redis_url, own=partition)
        self.retailer = retailer
        self.redis: Any = redis
        self.promises = Promises(
            store=self.store,
            ledger=retailer.ledger,
            catalog=retailer.catalog,
            auto_create=False,
            durability="redis",
            ledger_timeout_seconds=1.0,
        )
        self.clock = START
        self.runs = count(1)

    async def run(
        self, callers: Sequence[Sequence[Asked]], changes: Sequence[tuple[str, bool, str]]
    ) -> tuple[list[Call], list[Change]]:
        """What was asked and answered, and what changed, under names of this run alone."""
        self.prefix = f"{next(self.runs)}-"
        self.ticks = count(1)
        self.calls: list[Call] = []
        self.changes: list[Change] = []
        self.begun = [asyncio.Event() for _ in range(len(changes) + 1)]
        await self._opened()
        await asyncio.gather(*(self._calls(asked) for asked in callers), self._operator(changes))
        return self.calls, self.changes

    async def _opened(self) -> None:
        catalog = self.retailer.catalog
        for sku in SKUS:
            await catalog.put(Sku(sku=self.prefix + sku))
        for location in LOCATIONS:
            await catalog.put(Location(id=self.prefix + location))
        await self.store.apply_all(
            [
                Receipt(
                    source="wms/1",
                    event_id=f"{self.prefix}{sku}{location}",
                    occurred_at_ms=self.clock,
                    sku=self.prefix + sku,
                    location=self.prefix + location,
                    quantity=STOCK,
                )
                for sku in SKUS
                for location in LOCATIONS
            ]
        )

    async def _calls(self, asked: Sequence[Asked]) -> None:
        for kind, cart, wanted, after in asked:
            await self.begun[min(after, len(self.begun) - 1)].wait()
            start = next(self.ticks)
            promise = await self._ask(kind, cart, wanted)
            self._note(kind, cart, wanted, start, _label(promise))

    def _note(self, kind: Any, cart: str, wanted: Wanted, start: int, answer: str) -> None:
        self.calls.append(Call(kind, cart, tuple(sorted(wanted)), start, next(self.ticks), answer))

    async def _ask(self, kind: str, cart: str, wanted: Wanted) -> Promise:
        name = self.prefix + cart
        lines = [
            LineRequest(
                sku=self.prefix + sku,
                location=self.prefix + location,
                quantity=quantity,
                line_id=f"{sku} {location}",
            )
            for sku, location, quantity in wanted
        ]
        match kind:
            case "hold":
                held = HoldRequest(
                    lines=lines, reservation_id=name, channel="web", ttl_seconds=TTL_SECONDS
                )
                return await self.promises.hold(held, Caller())
            case "replace":
                other = ReplaceRequest(lines=lines, ttl_seconds=TTL_SECONDS)
                return await self.promises.replace(name, other, Caller())
            case "confirm":
                order = ConfirmRequest(order_id=f"order-of-{name}")
                return await self.promises.confirm(name, order, Caller())
            case _:
                return await self.promises.release(name, ReleaseRequest(), Caller())

    async def _operator(self, changes: Sequence[tuple[str, bool, str]]) -> None:
        catalog = self.retailer.catalog
        self.begun[0].set()
        for place, (name, on_sale, how) in enumerate(changes, 1):
            self.begun[place].set()
            start, key = next(self.ticks), self.prefix + name
            if name == "deadlines":
                self.clock += TTL_SECONDS * 1000
                await self.redis.hset(KEYS.meta, "clock", self.clock)
                self._note("lapse", "", (), start, "done")
                continue
            if name in SKUS:
                await (catalog.put(Sku(sku=key)) if on_sale else catalog.delete(Sku, key))
            elif on_sale:
                await catalog.put(Location(id=key))
            elif how == "closed":
                await catalog.put(Location(id=key, status="closed"))
            else:
                await catalog.put(Location(id=key, channels=["other"]))
            self.changes.append(Change(name, on_sale, start, next(self.ticks)))


def _label(promise: Promise) -> str:
    match promise.outcome:
        case Refused([line, *_]):
            return "unknown" if line.refused == "unknown_sku" else "closed"
        case ReservationLost([line, *_]):
            return "lost: closed" if line.refused else "lost"
        case outcome:
            return type(outcome).__name__


async def opened(shop: Retailer, redis_url: str, redis: Redis, source: str) -> AsyncIterator[Shop]:
    await redis.hset(KEYS.meta, "clock", str(START))
    await shop.catalog.put(Channel(id="web"))
    running = Shop(shop, redis_url, redis, source)
    await running.store.open(shop.ledger)
    yield running
    await running.store.close()


@pytest.fixture
async def trading(shop: Retailer, redis_url: str, redis: Redis) -> AsyncIterator[Shop]:
    async for running in opened(shop, redis_url, redis, script_in_hand()):
        yield running


@pytest.fixture
async def careless(shop: Retailer, redis_url: str, redis: Redis) -> AsyncIterator[Shop]:
    """A script that ignores why a line may not be promised."""
    sound = "local place = REASONS[line.refused]"
    assert script_in_hand().count(sound) == 1
    source = script_in_hand().replace(sound, "local place = nil")
    async for running in opened(shop, redis_url, redis, source):
        yield running


def _stock() -> dict[tuple[str, str], int]:
    return {(sku, location): STOCK for sku in SKUS for location in LOCATIONS}


_as_it_comes = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@_as_it_comes
@given(callers=_callers, changes=_changes)
async def test_every_answer_fits_some_order_of_what_happened(
    trading: Shop, callers: Any, changes: Any
) -> None:
    calls, happened = await trading.run(callers, changes)
    assert fits(calls, happened, _stock()), (calls, happened)


async def test_a_script_that_ignores_the_reasons_is_found_out(careless: Shop) -> None:
    """A test of the test: the search sees that goods are sold that are off sale."""
    asked = [[("hold", "c1", (("LAMP", "DC", 1),), 2)]]
    calls, happened = await careless.run(asked, [("DC", False, "closed"), ("S1", True, "closed")])
    assert [call.answer for call in calls] == ["Held"]
    assert not fits(calls, happened, _stock())
