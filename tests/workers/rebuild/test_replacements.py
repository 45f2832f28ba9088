"""Redis is replaced by one that continues the ledger, and lacks what the one before had taken in.

What cannot happen: an event that was acknowledged, that NATS still has, and that is in neither the
stock nor the ledger. Nothing that Redis says tells this from a restart in good order, so both are
tried; and a start, which is no reason to look back.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.retailer import Retailer, event
from tests.workers.ingest.conftest import Stream, stream, worker
from tests.workers.rebuild.rebuild_setup import NUMBER, looked_after, tools
from tests.workers.rebuild.replaceable_redis import Replaceable
from tests.workers.rebuild.test_events import noted_through, sold_down_to
from tests.workers.rebuild.test_lost_writes import opened_in

__all__ = ["stream"]


@pytest.fixture
def valkey(tmp_path: Path, redis_program: Path | None) -> Iterator[Replaceable]:
    server = Replaceable(tmp_path, redis_program)
    with server.runs():
        yield server


@pytest.fixture
def redis_url(valkey: Replaceable) -> str:
    return valkey.url


@pytest.mark.parametrize("ahead", [0, 5], ids=["at the recorder's place", "ahead of it"])
async def test_events_that_a_promoted_replica_never_had_are_in_stock_again_once(
    ahead: int, valkey: Replaceable, shop: Retailer, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, valkey.url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(mending, shop):
            await noted_through(shop, 1)
        # Nobody records from here on.
        await stream.publish(*[event("sale", quantity=1) for _ in range(ahead)])
        await stream.drained()
        valkey.copy()
        await stream.publish(*[event("sale", quantity=1) for _ in range(20 - ahead)])
        await stream.drained()
        assert await shop.on_hand() == 80

        valkey.is_replaced_by_its_copy()
        async with looked_after(mending, shop):
            await sold_down_to(shop, 80)
            await noted_through(shop, 21)
            await shop.recorded()
            assert await events_recorded(shop) == 21
            # And it has not begun another epoch for that.
            assert shop.store.partition_of("SKU-1").epoch == 1
            async with Redis.from_url(valkey.url) as redis:
                await redis.flushall()
            await opened_in(shop, 2)
            assert await shop.on_hand() == 80


async def test_what_a_promoted_replica_lacks_comes_when_nats_is_back(
    valkey: Replaceable, shop: Retailer, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, valkey.url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(mending, shop):
            await noted_through(shop, 1)
        valkey.copy()
        await stream.publish(event("sale", quantity=20))
        await stream.drained()
        valkey.is_replaced_by_its_copy()
        async with looked_after(tools(shop, valkey.url, ledger_url), shop):
            await sold_down_to(shop, 100)
            # What is sold by other ways is recorded, and tells nothing of the stream.
            await shop.tell(event("sale", quantity=1))
            await shop.recorded()
        async with looked_after(mending, shop):
            await sold_down_to(shop, 79)
            await noted_through(shop, 2)


async def test_a_redis_that_comes_back_with_all_it_had_costs_a_look_from_the_last_place(
    valkey: Replaceable, shop: Retailer, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, valkey.url, ledger_url, stream.client)
    with capture_logs() as told:
        async with worker(shop, nats_url), looked_after(mending, shop):
            await stream.publish(event("receipt", quantity=100))
            await stream.publish(*[event("sale", quantity=1) for _ in range(20)])
            await stream.drained()
            await noted_through(shop, 21)
            # The first start is none of its business.
            assert replays(told) == []
            valkey.dies_and_comes_back()
            await stream.publish(event("sale", quantity=1))
            await sold_down_to(shop, 79)
            await noted_through(shop, 22)
    ((after, news),) = replays(told)
    assert after == 21
    assert news in (0, 1)  # that sale, if it was quicker than ingest


async def events_recorded(shop: Retailer) -> int:
    async with shop.ledger.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM events")
        ((count,),) = await cursor.fetchall()
    return int(count)


def replays(told: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [
        (line["after"], line["news"])
        for line in told
        if line["event"] == "events_replayed" and line["partition"] == NUMBER
    ]
