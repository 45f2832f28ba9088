"""What a fork was told, kept as it was told; and what is left of one that somebody has damaged."""

from typing import Any

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from atp_service.inventory.commands import Hold, HoldLine, Release, fingerprint
from atp_service.inventory.outcomes import Held, InsufficientStock, Repeated
from atp_service.metrics import REGISTRY
from tests.retailer import DC, Retailer, event, until
from tests.workers.rebuild.rebuild_setup import (
    KEYS,
    copy_of,
    hold,
    looked_after,
    on_the_fork,
    order,
    put_back,
    tools,
)
from tests.workers.rebuild.test_lost_writes import opened_in, sale


async def test_a_hold_that_both_have_lasts_as_long_as_its_cart_was_told_last(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
        old = await copy_of(redis)
        # The answers were lost on the way; the carts ask the other Redis again.
        await shop.store.apply_all(
            [
                hold("longer", 1, ttl_ms=60_000),
                hold("shorter", 1, ttl_ms=900_000),
                hold("ended", 1),
                Release(reservation_id="ended"),
            ]
        )
        await shop.recorded()
    ours = await shop.store.reservation("shorter")
    await put_back(redis, old)
    told, _, _ = await on_the_fork(
        redis,
        hold("longer", 1, ttl_ms=900_000),
        hold("shorter", 1, ttl_ms=60_000),
        hold("ended", 1),
    )
    assert isinstance(told, Held)
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        longer = await shop.store.reservation("longer")
        assert longer is not None
        assert abs(longer.expires_at - told.reservation.expires_at) < 1_000
        assert await shop.store.reservation("shorter") == ours
        (conflict,) = await shop.ledger.exceptions(kind="fork-conflict")
        assert conflict.reference == "ended"
        assert "it is released" in conflict.detail


async def test_a_hold_in_part_keeps_all_that_it_was_told_or_is_told_that_it_cannot(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(sale("S-ledger", 2))
        await shop.recorded()
    await put_back(redis, old)
    fits = structs.replace(hold("fits", 2), allow_partial=True)
    part = structs.replace(hold("part", 9), allow_partial=True)
    told = await on_the_fork(redis, fits, part)
    assert [t.reservation.lines[0].reserved for t in told if isinstance(t, Held)] == [2, 3]
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        # Three are left: two for the first, and one is not the three that the second was told.
        assert (await shop.level()).reserved == 2
        assert await shop.store.reservation("part") is None
        (conflict,) = await shop.ledger.exceptions(kind="fork-conflict")
        assert conflict.reference == "part"


async def test_a_hold_in_part_that_is_applied_again_still_says_what_its_cart_asked_for(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.tell(event("receipt", quantity=5))
        await shop.recorded()
    await put_back(redis, old)
    lines = [
        HoldLine(line_id="1", sku="SKU-1", location=DC, quantity=9),
        HoldLine(line_id="2", sku="SKU-1", location=DC, quantity=2),
    ]
    asked = Hold(
        reservation_id="part",
        lines=lines,
        fingerprint=fingerprint(lines),
        ttl_ms=900_000,
        allow_partial=True,
    )
    (told,) = await on_the_fork(redis, asked)
    assert isinstance(told, Held)
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        # Ten are there by now, and it has the five that it was told.
        kept = await shop.store.reservation("part")
        assert kept is not None
        assert [(line.quantity, line.reserved) for line in kept.lines] == [(9, 5), (2, 0)]
        assert isinstance(await shop.store.apply(asked), Repeated)


async def test_a_hold_that_nobody_has_any_more_asks_no_person(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=5))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(sale("S-ledger", 5))
        await shop.recorded()
    await put_back(redis, old)
    told = await on_the_fork(
        redis,
        hold("lapses", 1, ttl_ms=1),
        hold("given back", 1),
        Release(reservation_id="given back", key="k"),
        hold("waiting", 1),
        *order("placed", 1),
        Release(reservation_id="placed", key="k"),
    )
    assert not any(isinstance(outcome, InsufficientStock) for outcome in told)
    before = REGISTRY.get_sample_value("atp_rebuild_conflicts_total") or 0
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        conflicts = await shop.ledger.exceptions(kind="fork-conflict")
        named = {conflict.reference: conflict.count for conflict in conflicts}
        assert named == {"waiting": 1, "order-of-placed": 3}

        async def counted() -> bool:
            return REGISTRY.get_sample_value("atp_rebuild_conflicts_total") == before + 7

        await until(counted)


async def test_an_entry_that_cannot_be_read_and_one_that_is_gone_are_told_and_the_rest_is_applied(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(sale("S-ledger", 1))
        await shop.recorded()
    await put_back(redis, old)
    await on_the_fork(redis, sale("F-1", 1), sale("F-2", 1), *order("cart", 2), sale("F-3", 1))
    # Entries 2 to 6: one is taken out, one is damaged, and one is no entry at all.
    client: Any = redis
    ((_, confirm),) = await client.xrange(KEYS.journal, "5-0", "5-0")
    ((_, last),) = await client.xrange(KEYS.journal, "6-0", "6-0")
    await client.xdel(KEYS.journal, "3-0", "5-0", "6-0")
    await client.xadd(KEYS.journal, _unreadable(confirm), "6-1")
    await client.xadd(KEYS.journal, last, "7-0")
    await client.execute_command("XADD", KEYS.journal, "8-0", "what", "else")
    await client.hset(KEYS.meta, "seq", 10)
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        await shop.recorded()
        assert await shop.on_hand() == 10 - 1 - 1 - 1
        kept = await shop.store.reservation("cart")
        assert kept is not None
        assert kept.status == "held"
        told = await shop.ledger.exceptions(kind="fork-conflict")
        assert {conflict.reference for conflict in told} == {
            "entries 3-3",
            "entries 5-5",
            "order-of-cart",
            "entry 8",
            "entries 9-10",
        }


def _unreadable(fields: dict[bytes, bytes]) -> dict[Any, Any]:
    """The entry with a command that is none."""
    (name, body), (of_digest, _) = fields.items()
    _, *rest = msgspec.msgpack.decode(body, type=list[msgspec.Raw])
    return {name: msgspec.msgpack.encode([1, *rest]), of_digest: "0" * 40}
