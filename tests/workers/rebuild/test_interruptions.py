"""A rebuild may die anywhere, or freeze and go on late: the next one makes it whole, once.

What cannot happen: an acknowledged command of a fork that is lost, or counted twice, because a
rebuild died; a stale rebuilder that writes into a Redis that others have opened since.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from atp_service.inventory.commands import Confirm, LineUnits, Release
from atp_service.inventory.outcomes import Held
from atp_service.store.raw_partition import Superseded
from atp_service.workers import rebuild
from tests.retailer import Retailer, event
from tests.workers.rebuild.rebuild_setup import (
    KEYS,
    contents,
    copy_of,
    hold,
    looked_after,
    on_the_fork,
    order,
    put_back,
    tools,
)
from tests.workers.rebuild.test_lost_writes import opened_in, sale

STAGES = ["fenced", "secured", "filling", "filled", "applied again"]


@contextmanager
def rebuilding(redis_url: str, database_url: str, stage: str) -> Iterator[subprocess.Popen[str]]:
    """A rebuild that has come to the stage, and waits there."""
    script = Path(__file__).with_name("rebuilder.py")
    process = subprocess.Popen(
        [sys.executable, script, redis_url, database_url, stage],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == stage:
                break
        else:
            pytest.fail(f"it ended before {stage}")
        yield process
    finally:
        process.kill()
        process.wait()


async def forked(shop: Retailer, redis: Redis, redis_url: str, ledger_url: str) -> None:
    """A Redis that lacks the ledger's last sale, and has acknowledged others since."""
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await shop.tell(event("receipt", quantity=100))
        await shop.store.apply_all(order("before", 10))
        await shop.recorded()
        old = await copy_of(redis)
        await shop.store.apply(sale("S-ledger", 5))
        await shop.recorded()
    await put_back(redis, old)
    part = Release(reservation_id="before", lines=[LineUnits(line_id="1", quantity=2)], key="part")
    await on_the_fork(
        redis, sale("S-fork", 3), *order("fork", 7), part, hold("open", 1), hold("gone", 80)
    )
    await on_the_fork(redis, Confirm(reservation_id="gone", order_id="o-gone"))


async def assert_merged(shop: Retailer) -> None:
    level = await shop.level()
    assert (level.on_hand, level.allocated, level.reserved) == (92, 8 + 7, 1)
    conflicts = await shop.ledger.exceptions(kind="fork-conflict")
    assert [(one.reference, one.count) for one in conflicts] == [("o-gone", 2)]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_rebuild_that_died_is_made_whole_by_the_next(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, stage: str
) -> None:
    await forked(shop, redis, redis_url, ledger_url)
    with rebuilding(redis_url, ledger_url, stage):
        pass
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await opened_in(shop, 2 if stage == "fenced" else 3)
        await shop.recorded()
        await assert_merged(shop)
        with psycopg.connect(ledger_url) as connection:
            unopened = connection.execute("SELECT FROM rebuilds WHERE opened_at IS NULL")
            assert unopened.rowcount == 0


class _FailsOver:
    """At a stage of the rebuild another Redis takes the place of the one that is rebuilt."""

    def __init__(self, stage: str, redis_url: str, other: dict[bytes, bytes]) -> None:
        self._stage = stage
        self._redis_url = redis_url
        self._other = other

    def show(self, stage: str, _share: float | None, _detail: str) -> None:
        if stage == self._stage:
            with SyncRedis.from_url(self._redis_url) as redis:
                redis.delete(*KEYS)
                for key, blob in self._other.items():
                    redis.restore(key, 0, blob)


async def test_a_redis_that_stands_in_half_way_is_not_emptied_before_it_is_heard(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
    # Only the one that stands in has this sale.
    await on_the_fork(redis, sale("S-other", 3))
    other = await copy_of(redis)
    await redis.flushall()
    with pytest.raises(Superseded, match="epoch 1 goes on here"):
        await rebuild.rebuild(mending, show=_FailsOver("secured", redis_url, other).show)
    async with looked_after(mending, shop):
        await opened_in(shop, 3)
        assert await shop.on_hand() == 7


@pytest.mark.parametrize("stage", ["secured", "filling", "filled"])
async def test_a_frozen_rebuilder_loses_its_right_and_writes_nothing_when_it_goes_on(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, stage: str
) -> None:
    await forked(shop, redis, redis_url, ledger_url)
    with rebuilding(redis_url, ledger_url, stage) as frozen:
        os.kill(frozen.pid, signal.SIGSTOP)
        async with looked_after(tools(shop, redis_url, ledger_url), shop):
            # Nobody has to be awake: Postgres ends the session that has fallen silent.
            await opened_in(shop, 3)
            assert isinstance(await shop.store.apply(hold("after", 1)), Held)
            await shop.recorded()
            before = await contents(redis)
            os.kill(frozen.pid, signal.SIGCONT)
            assert frozen.stdin is not None
            frozen.stdin.write("\n")
            frozen.stdin.flush()
            assert frozen.wait(30) != 0
            assert await contents(redis) == before
            level = await shop.level()
            assert (level.on_hand, level.reserved) == (92, 2)
