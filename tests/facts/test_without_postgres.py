"""While Postgres is away facts go on. Only events that need the ledger wait, and none is lost."""

import time
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from atp_service.catalog import Catalog, Sku
from atp_service.embedded.postgres import Postgres
from atp_service.facts import Arrival, Facts
from atp_service.facts.count_merge import LONGEST_TAIL, PAGE
from atp_service.inventory.commands import Adjustment
from atp_service.postgres.pool import PATIENCE_SECONDS
from tests.retailer import DC, Retailer, away, event, hung, now_ms, until

DAY = 86_400_000


async def test_facts_go_on_while_postgres_is_away(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    with away(postgres, ledger_url):
        assert await shop.statuses(event("receipt", quantity=5)) == ["applied"]
        # A level that never moved needs no ledger to be counted.
        assert await shop.statuses(event("count", sku="SKU-2", quantity=3)) == ["applied"]
    assert (await shop.on_hand(), await shop.on_hand("SKU-2")) == (5, 3)


async def test_a_count_waits_for_postgres_and_is_then_right(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    counted_at = now_ms() - 60_000
    await shop.tell(event("receipt", quantity=10, at_ms=counted_at - 1))
    stock_take = event("count", quantity=9, at_ms=counted_at)
    with away(postgres, ledger_url):
        sale = event("sale", quantity=2)
        assert await shop.statuses(sale, stock_take, sale) == ["applied", "waiting", "duplicate"]
    async with shop.recording(ledger_url):
        while await shop.statuses(stock_take) == ["waiting"]:
            assert time.time_ns() // 1_000_000 < counted_at + 90_000
    assert await shop.on_hand() == 7


async def moved(shop: Retailer, times: int, at_ms: int) -> None:
    """Changes of on_hand that are not recorded."""
    told = [
        Adjustment(
            source="wms/dc-1",
            event_id=f"moved-{n}",
            occurred_at_ms=at_ms,
            sku="SKU-1",
            location=DC,
            quantity=1,
        )
        for n in range(times)
    ]
    for first in range(0, times, 1_000):
        await shop.store.apply_all(told[first : first + 1_000])


async def pages_read(redis: Redis) -> int:
    """How often the journal was read."""
    asked = await redis.info("commandstats")
    return sum(asked.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("xread", "xrange"))


async def test_counts_wait_at_once_while_the_ledger_is_far_behind_and_selling_goes_on(
    shop: Retailer, redis: Redis, ledger_url: str
) -> None:
    counted_at = now_ms() - 60_000
    await moved(shop, LONGEST_TAIL + 1, counted_at - 1)
    counts = [event("count", quantity=9, at_ms=counted_at + n) for n in range(10)]
    before = await pages_read(redis)
    told = [each for count in counts for each in (event("sale", quantity=1), count)]
    results = await shop.tell(*told, event("count", sku="SKU-2", quantity=3))
    assert [(result.status, result.reason) for result in results] == [
        *[("applied", None), ("waiting", "ledger-behind")] * 10,
        ("applied", None),  # a level that has never moved needs no ledger
    ]
    assert await pages_read(redis) == before
    async with shop.recording(ledger_url):
        await shop.recorded()
        assert await shop.statuses(*counts) == ["applied"] * 10
    assert await shop.on_hand() == 9 - 10


async def test_what_the_ledger_does_not_have_yet_is_read_once_for_all_counts_of_a_call(
    shop: Retailer, redis: Redis
) -> None:
    began_at = now_ms() - 60_000
    await moved(shop, 3 * PAGE, began_at - 1)
    told = []
    for n in range(10):
        told.append(event("sale", quantity=1, at_ms=began_at + 100 + n))
        told.append(event("count", quantity=100, at_ms=began_at + n))
    before = await pages_read(redis)
    assert await shop.statuses(*told) == ["applied"] * 20
    # From the second count on, what has come since the one before it.
    assert await pages_read(redis) == before + 4 + 9
    assert await shop.on_hand() == 100 - 10


async def test_a_count_is_right_though_the_ledger_catches_up_between_two_of_a_call(
    shop: Retailer, ledger_url: str
) -> None:
    began_at = now_ms() - 60_000
    await moved(shop, PAGE, began_at - 1)
    told = []
    for n in range(100):
        told.append(event("sale", quantity=1, at_ms=began_at + 1_000 + n))
        told.append(event("count", quantity=1_000, at_ms=began_at + n))
    async with shop.recording(ledger_url):
        assert await shop.statuses(*told) == ["applied"] * 200
    assert await shop.on_hand() == 1_000 - 100


async def test_an_event_without_a_time_may_be_of_any_age_and_waits_for_the_ledger(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    timeless = event("sale", quantity=1) | {"time": "yesterday"}
    with away(postgres, ledger_url):
        (result,) = await shop.tell(timeless)
        assert (result.status, result.reason) == ("waiting", "ledger-away")
        # A payload that is no event has no id to be known by; a repeat comes at once or never.
        (result,) = await shop.tell(b"?", subject="atp.events.wms.dc-1")
        assert result.status == "parked"


async def test_what_may_be_known_to_the_ledger_alone_waits_for_it(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    old = event("sale", quantity=1, at_ms=now_ms() - 2 * DAY)
    with away(postgres, ledger_url):
        (result,) = await shop.tell(old)
        assert (result.status, result.reason) == ("waiting", "ledger-away")
    assert await shop.on_hand() == 0


async def test_an_old_event_that_redis_has_forgotten_is_known_to_the_ledger(
    shop: Retailer, ledger_url: str
) -> None:
    old = event("sale", quantity=1, at_ms=now_ms() - 2 * DAY)
    async with shop.recording(ledger_url):
        assert await shop.statuses(old) == ["applied"]
    await shop.forget_seen()
    assert await shop.statuses(old) == ["duplicate"]
    assert await shop.on_hand() == -1


async def test_no_name_is_unknown_before_master_data_was_read(shop: Retailer) -> None:
    just_started = Facts(
        shop.store,
        shop.ledger,
        Catalog(shop.pool),
        auto_create=False,
        dedupe_hours=24,
        clock=now_ms,
    )
    sale = msgspec.json.encode(event("sale", quantity=1))
    arrival = Arrival(sale, "atp.events.wms.dc-1", "ATP_EVENTS/1/1")
    ((result,),) = await just_started.apply([arrival])
    assert (result.status, result.reason) == ("waiting", "master-data-away")


async def test_no_name_is_unknown_while_master_data_cannot_be_asked(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    await Catalog(shop.pool).put(Sku(sku="NEW-9"))
    new = event("receipt", sku="NEW-9", quantity=1)
    with away(postgres, ledger_url):
        (result,) = await shop.tell(new)
        assert (result.status, result.reason) == ("waiting", "master-data-away")

    async def applied() -> bool:
        return await shop.statuses(new) == ["applied"]

    await until(applied)


async def test_a_ledger_that_hangs_holds_no_event_up_for_long(
    shop: Retailer, server_data: Path
) -> None:
    await shop.tell(event("receipt", quantity=1))
    with hung(server_data):
        began = time.monotonic()
        for _ in range(20):
            old = event("sale", quantity=1, at_ms=now_ms() - 2 * DAY)
            assert await shop.statuses(old, event("count", quantity=9)) == ["waiting", "waiting"]
        assert time.monotonic() - began < 2 * PATIENCE_SECONDS
    assert await shop.on_hand() == 1


async def test_asking_a_ledger_that_is_away_holds_no_event_up_for_long(
    shop: Retailer, postgres: Postgres, ledger_url: str
) -> None:
    with away(postgres, ledger_url):
        await shop.tell(event("sale", quantity=1, at_ms=now_ms() - 2 * DAY))
        began = time.monotonic()
        for _ in range(50):
            old = event("sale", quantity=1, at_ms=now_ms() - 2 * DAY)
            assert await shop.statuses(old, event("receipt", quantity=1)) == ["waiting", "applied"]
        assert time.monotonic() - began < 5
