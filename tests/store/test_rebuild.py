"""A partition is filled on one Redis: what stands in for it half-way is not gone on with."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey
from atp_service.inventory.outcomes import Applied
from atp_service.processes.restarting_child import RestartingChild
from atp_service.store import Fenced, Partition, Unavailable
from atp_service.store.raw_partition import Fill, RebuildGuard, Site, Superseded
from tests.store.ledgers import LedgerInHand
from tests.store.test_door import receipt

EPOCH = 2


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[Valkey, RestartingChild]]:
    """A server that may be stopped, and started again with all it had."""
    valkey = Valkey(tmp_path, socket_folder(tmp_path))
    with running([valkey]) as (kept,):
        yield valkey, kept


@asynccontextmanager
async def site_of(redis_url: str, lamps: int) -> AsyncIterator[Site]:
    site = Site(redis_url, name="test", partition=lamps)
    try:
        yield site
    finally:
        await site.close()


async def filled(site: Site) -> Fill:
    """A rebuild that has put in all there is, and has not opened yet."""
    fill = Fill(site, EPOCH, "nonce")
    await fill.begin()
    await fill.finish(seq=0, digest="", at_ms=0, rotated_at_ms=0)
    return fill


def restart(own_redis: tuple[Valkey, RestartingChild]) -> None:
    valkey, kept = own_redis
    kept.stop()
    kept.child = valkey.start()
    give_up = time.monotonic() + 30.0
    while not valkey.ready():
        assert time.monotonic() < give_up
        time.sleep(0.02)


async def test_where_an_epoch_stands_again_nothing_is_emptied(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply(receipt("1", 5))
    async with site_of(redis_url, lamps) as site:
        assert await site.fence(1)
        # A failover: a replica that has not heard of the fence.
        await redis.hset(store.keys.meta, "epoch", "1")
        with pytest.raises(Superseded, match="epoch 1 goes on here"):
            await Fill(site, EPOCH, "nonce").begin()
    (level,) = await store.reads.levels([("LAMP", "DC")])
    assert level is not None
    assert level.on_hand == 5
    await store.close()


async def test_a_redis_that_takes_the_place_of_the_filled_one_is_not_written_to(
    own_redis: tuple[Valkey, RestartingChild], lamps: int
) -> None:
    async with site_of(own_redis[0].url, lamps) as site:
        fill = await filled(site)
        restart(own_redis)
        with pytest.raises(Unavailable):
            await fill.open()
        with pytest.raises(Superseded, match="another Redis"):
            await fill.open()


async def test_commands_of_a_rebuild_reach_no_other_redis_than_the_one_it_filled(
    own_redis: tuple[Valkey, RestartingChild], lamps: int
) -> None:
    async with site_of(own_redis[0].url, lamps) as site:
        guard = RebuildGuard(lamps, site.keys, EPOCH, await filled(site))
        store = Partition(own_redis[0].url, lamps, guard=guard)
        assert isinstance(await store.apply(receipt("1", 5)), Applied)
        restart(own_redis)
        with pytest.raises(Fenced, match="another Redis"):
            await store.apply(receipt("2", 5))
        await store.close()


async def test_what_a_hand_added_to_the_journal_keeps_nobody_reading_for_ever(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply_all([receipt("1", 5), receipt("2", 5)])
    client: Any = redis
    await client.execute_command("XADD", store.keys.journal, "2-1", "what", "else")
    async with site_of(redis_url, lamps) as site:
        assert [entry.seq for entry in await site.journal(0)] == [1, 2, 2]
        assert await site.journal(2) == []
        await store.apply(receipt("3", 5))
        assert [entry.seq for entry in await site.journal(2)] == [3]
    await store.close()
