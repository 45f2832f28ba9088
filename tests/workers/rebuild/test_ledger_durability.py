"""With `durability: ledger` nothing that was acknowledged is lost, whatever becomes of Redis."""

import asyncio
import time
from itertools import count

import msgspec
import pytest
from redis.asyncio import Redis

from atp_service.api.responses import Call
from atp_service.api.stock_events import StockEvents
from atp_service.embedded.postgres import Postgres
from atp_service.inventory.commands import Fulfil
from atp_service.inventory.outcomes import Confirmed, Held, InsufficientStock, Outcome, Repeated
from atp_service.postgres import Unavailable as PostgresUnavailable
from atp_service.promises import Promises, UnknownName
from atp_service.promises.requests import ConfirmRequest, HoldRequest, LineRequest
from atp_service.promises.service import Caller
from atp_service.store import Fenced, Unavailable
from tests.recorders import last_seq
from tests.retailer import DC, Retailer, away, event, until
from tests.workers.rebuild.rebuild_setup import (
    SECONDS,
    copy_of,
    looked_after,
    on_the_fork,
    order,
    put_back,
    tools,
)
from tests.workers.rebuild.test_lost_writes import sale

CARTS = 10_000
STOCK = 9_000
BUYERS = 64
LINES = [LineRequest(sku="SKU-1", location=DC, quantity=1)]


def promises(shop: Retailer, *, patience: float = 5.0) -> Promises:
    return Promises(
        store=shop.store,
        ledger=shop.ledger,
        catalog=shop.catalog,
        auto_create=False,
        durability="ledger",
        ledger_timeout_seconds=patience,
    )


async def test_redis_emptied_amid_twenty_thousand_holds_and_confirms_loses_none_acknowledged(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    calls, numbers = promises(shop), count(1)
    held: set[str] = set()
    confirmed: set[str] = set()
    refused = 0
    asked_again = 0
    emptied = False

    async def patiently(cart: str, *, confirm: bool) -> Outcome | UnknownName:
        """As a caller does: the same again until there is an answer."""
        nonlocal asked_again
        give_up = time.monotonic() + 3 * SECONDS
        while True:
            try:
                if confirm:
                    order = ConfirmRequest(order_id=f"order-of-{cart}")
                    return (await calls.confirm(cart, order, Caller())).outcome
                wanted = HoldRequest(lines=LINES, reservation_id=cart)
                return (await calls.hold(wanted, Caller())).outcome
            except (Fenced, Unavailable, PostgresUnavailable):
                assert time.monotonic() < give_up
                asked_again += 1
                await asyncio.sleep(0.05)

    async def buy() -> None:
        nonlocal refused, emptied
        while (number := next(numbers)) <= CARTS:
            cart = f"cart-{number}"
            outcome = await patiently(cart, confirm=False)
            if isinstance(outcome, InsufficientStock):
                refused += 1
                continue
            assert isinstance(outcome, Held | Repeated)
            held.add(cart)
            if number > CARTS // 2 and not emptied:
                emptied = True
                await redis.flushall()
            assert isinstance(await patiently(cart, confirm=True), Confirmed | Repeated)
            confirmed.add(cart)

    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=STOCK))
        await shop.recorded()
        await asyncio.gather(*(buy() for _ in range(BUYERS)))
        await shop.recorded()
    assert asked_again
    assert shop.store.partition_of("SKU-1").epoch == 2
    assert len(confirmed) == STOCK
    assert refused == CARTS - STOCK
    level = await shop.level()
    assert (level.on_hand, level.reserved, level.allocated) == (STOCK, 0, STOCK)
    for cart in confirmed:
        reservation = await shop.store.reservation(cart)
        assert reservation is not None, cart
        assert (reservation.status, reservation.order_id) == ("confirmed", f"order-of-{cart}")


async def test_while_postgres_is_away_nobody_is_told_yes_and_the_retry_makes_it_definite(
    shop: Retailer, postgres: Postgres, redis_url: str, ledger_url: str
) -> None:
    calls = promises(shop, patience=1.0)
    wanted = HoldRequest(lines=LINES, reservation_id="cart")
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=1))
        await shop.recorded()
        with away(postgres, ledger_url), pytest.raises(PostgresUnavailable):
            await calls.hold(wanted, Caller())
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                promise = await calls.hold(wanted, Caller())
                break
            except PostgresUnavailable:
                assert time.monotonic() < give_up
        assert isinstance(promise.outcome, Repeated)
        assert await shop.ledger.reservation("cart") is not None
        other = await calls.hold(HoldRequest(lines=LINES, reservation_id="other"), Caller())
        assert isinstance(other.outcome, InsufficientStock)


async def test_an_event_is_answered_for_itself_and_not_for_another_of_the_same_number(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    events = StockEvents(shop.facts, shop.store, shop.ledger, "ledger")
    call = Call(request_id="1", traceparent=None, key=None)
    await shop.tell(event("receipt", quantity=9))
    old = await copy_of(redis)
    told = asyncio.create_task(events.apply(call, msgspec.json.encode(event("sale", quantity=1))))

    async def taken() -> bool:
        return await last_seq(shop.store) == 2

    await until(taken)
    # Redis is set back, and gives the number to somebody else's sale. Nothing was recorded yet.
    await put_back(redis, old)
    await on_the_fork(redis, sale("S-other", 2))
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        with pytest.raises(PostgresUnavailable, match="not in the ledger"):
            await told
        await shop.recorded()
        heartbeat = await events.apply(call, msgspec.json.encode(event("heartbeat")))
        assert heartbeat.status == 200


async def test_a_shipment_that_has_left_already_is_answered_once_the_ledger_has_its_leaving(
    shop: Retailer, redis_url: str, ledger_url: str
) -> None:
    events = StockEvents(shop.facts, shop.store, shop.ledger, "ledger")
    call = Call(request_id="1", traceparent=None, key=None)
    await shop.tell(event("receipt", quantity=9))
    await shop.store.apply_all(
        [*order("cart", 2), Fulfil(reservation_id="cart", shipment_id="SHIP-1", key="f")]
    )
    told = event("shipment", quantity=2, shipment_id="SHIP-1", order_id="order-of-cart")
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        answer = await events.apply(call, msgspec.json.encode(told))
    assert [result.status for result in answer.content.results] == ["duplicate"]
