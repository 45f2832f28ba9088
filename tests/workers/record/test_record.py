"""What cannot happen: an entry that is lost, or recorded twice, whatever dies, freezes or forks."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from atp_service.embedded.postgres import OWNER, SERVICE, Postgres
from atp_service.embedded.servers import running, socket_folder
from atp_service.inventory.entry_ref import EntryRef
from atp_service.ledger import Batch, Ledger, lease, migrate
from atp_service.metrics import REGISTRY
from atp_service.postgres import Unavailable
from atp_service.store import Fenced, Store
from tests.builders import sale
from tests.recorders import SECONDS, last_seq, recorded, recording
from tests.retailer import until
from tests.workers.record.trade import a_day, assert_recorded_once

BACKENDS = """
SELECT pid
FROM pg_locks
JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


async def kept(stock: Store, redis: "Redis") -> list[int]:
    """How many entries each journal has."""
    return [int(await redis.xlen(partition.keys.journal)) for partition in stock.partitions]


async def trimmed(stock: Store, redis: "Redis") -> None:
    async def one_left() -> bool:
        return set(await kept(stock, redis)) == {1}

    await until(one_left, SECONDS)


@contextmanager
def process(redis_url: str, database_url: str, stock: Store) -> Iterator[subprocess.Popen[bytes]]:
    script = Path(__file__).with_name("recorder.py")
    recorder = subprocess.Popen(
        [sys.executable, script, redis_url, database_url, str(len(stock.partitions))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield recorder
    finally:
        recorder.kill()
        recorder.wait()


def holders(superuser_url: str) -> set[int]:
    """The backends that have the leases."""
    with psycopg.connect(superuser_url) as connection:
        return {pid for (pid,) in connection.execute(BACKENDS).fetchall()}


async def test_everything_that_happens_is_recorded_once_and_the_journal_lets_go_of_it(
    stock: Store, ledger: Ledger, database_url: str, redis: "Redis"
) -> None:
    async with recording(stock, database_url):
        for _ in range(3):
            await stock.apply_all(a_day(500))
            await recorded(stock, ledger)
        await trimmed(stock, redis)
    await assert_recorded_once(stock, database_url)


async def test_a_backlog_is_recorded_in_many_transactions(
    stock: Store, ledger: Ledger, database_url: str
) -> None:
    await stock.apply_all(a_day(5_000))
    async with recording(stock, database_url):
        await recorded(stock, ledger)
    await assert_recorded_once(stock, database_url)


async def test_a_crash_between_commit_and_trim_changes_nothing(
    stock: Store, ledger: Ledger, database_url: str, redis: "Redis"
) -> None:
    await stock.apply_all(a_day(100))
    for partition in stock.partitions:
        async with lease(database_url, partition.number) as appender:
            assert appender is not None
            batch = Batch(partition.number, appender.position)
            for entry in await partition.journal.entries(0, 60 // len(stock.partitions)):
                batch.add(entry)
            await appender.append(batch)  # and no trim: the recorder has died here
    assert sum(await kept(stock, redis)) == 100
    async with recording(stock, database_url):
        await recorded(stock, ledger)
        await trimmed(stock, redis)
    await assert_recorded_once(stock, database_url)


async def test_recorders_killed_in_mid_work_neither_lose_nor_repeat(
    stock: Store, ledger: Ledger, database_url: str, redis_url: str
) -> None:
    for _ in range(3):
        number = stock.partition_of("SKU-1").number
        position = await ledger.position(number)
        assert position is not None
        await stock.apply_all(a_day(3_000))
        with process(redis_url, database_url, stock) as recorder:
            await ledger.wait_for(EntryRef(number, 1, position.seq + 1), 30.0)
            recorder.kill()
    async with recording(stock, database_url):
        await recorded(stock, ledger)
    await assert_recorded_once(stock, database_url)


async def test_of_two_recorders_one_works_and_the_other_takes_over(
    stock: Store, ledger: Ledger, database_url: str, redis_url: str
) -> None:
    with process(redis_url, database_url, stock) as first, process(redis_url, database_url, stock):
        await stock.apply_all(a_day(200))
        await recorded(stock, ledger)
        first.kill()
        await stock.apply_all(a_day(200))
        await recorded(stock, ledger)
    await assert_recorded_once(stock, database_url)


async def test_a_recorder_that_falls_silent_after_a_pipelined_append_loses_the_lease(
    stock: Store, database_url: str
) -> None:
    await stock.apply(sale("SKU-1"))
    partition = stock.partition_of("SKU-1")
    async with lease(database_url, partition.number) as silent:
        assert silent is not None
        batch = Batch(partition.number, silent.position)
        for entry in await partition.journal.entries(0, 1):
            batch.add(entry)
        await silent.append(batch)

        async def taken_over() -> bool:
            async with lease(database_url, partition.number) as other:
                return other is not None

        await until(taken_over, SECONDS)
        with pytest.raises(Unavailable):
            await silent.renew()


async def test_a_frozen_recorder_loses_the_lease_and_does_no_harm_when_it_goes_on(
    stock: Store, ledger: Ledger, database_url: str, redis_url: str, superuser_url: str
) -> None:
    with process(redis_url, database_url, stock) as frozen:
        await stock.apply_all(a_day(200))
        await recorded(stock, ledger)
        os.kill(frozen.pid, signal.SIGSTOP)
        before = holders(superuser_url)
        await stock.apply_all(a_day(200))
        with process(redis_url, database_url, stock) as second:
            await recorded(stock, ledger)
            after = holders(superuser_url)
            assert after
            assert after.isdisjoint(before)
            os.kill(frozen.pid, signal.SIGCONT)
            await stock.apply_all(a_day(200))
            await recorded(stock, ledger)
            second.kill()
            await stock.apply_all(a_day(200))
            await recorded(stock, ledger)  # by the one that was frozen
    await assert_recorded_once(stock, database_url)


async def test_on_a_journal_that_leaves_the_ledger_nobody_promises_and_it_is_not_recorded(
    stock: Store, ledger: Ledger, database_url: str, redis: "Redis"
) -> None:
    async with recording(stock, database_url):
        await stock.apply_all(a_day(20))
        await recorded(stock, ledger)
        partition = stock.partition_of("SKU-1")
        before = await ledger.position(partition.number)
        assert before is not None
        # Another past: its next entry was written on top of something the ledger never saw.
        await redis.hset(partition.keys.meta, "digest", "0" * 40)
        await stock.apply_all([sale("SKU-1"), sale("SKU-1")])

        async def noticed() -> bool:
            return _forked() == 1.0

        await until(noticed, SECONDS)
        with pytest.raises(Fenced, match="fenced"):
            await stock.apply(sale("SKU-1"))
    assert await ledger.position(partition.number) == before
    assert await redis.xlen(partition.keys.journal) == 3


async def test_another_journal_of_the_same_length_is_not_recorded(
    stock: Store, ledger: Ledger, database_url: str, redis: "Redis"
) -> None:
    async with recording(stock, database_url):
        await stock.apply_all(a_day(20))
        await recorded(stock, ledger)
        await trimmed(stock, redis)
    partition = stock.partition_of("SKU-1")
    journal = partition.keys.journal
    before = await ledger.position(partition.number)
    ((message, fields),) = await redis.execute_command("XRANGE", journal, "-", "+")  # type: ignore[no-untyped-call]
    await redis.delete(journal)
    another = [part for pair in (fields | {b"d": b"0" * 40}).items() for part in pair]
    await redis.execute_command("XADD", journal, message, *another)  # type: ignore[no-untyped-call]
    async with recording(stock, database_url):

        async def noticed() -> bool:
            return _forked() == 1.0

        await until(noticed, SECONDS)
    assert await ledger.position(partition.number) == before


def _forked() -> float | None:
    return REGISTRY.get_sample_value("atp_journal_forked")


async def test_postgres_goes_and_comes_back_and_the_backlog_drains_by_itself(
    redis_url: str, tmp_path: Path, redis: "Redis", partitions: int
) -> None:
    server = Postgres(tmp_path, socket_folder(tmp_path))
    with running([server]) as (kept,):
        url = server.url(SERVICE)
        migrate(server.url(OWNER), SERVICE)
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(url, open=False, timeout=1.0)
        await pool.open()
        ledger = Ledger(pool)
        stock = Store(redis_url, partitions=partitions, name="test")
        await stock.open(ledger)
        selling = asyncio.Event()

        async def sell() -> None:
            while not selling.is_set():
                await stock.apply_all(a_day(40))
                await asyncio.sleep(0.01)

        async with recording(stock, url):
            shop = asyncio.create_task(sell())
            try:
                for _ in range(2):
                    last, *_ = await stock.last_entries()
                    await ledger.wait_for(replace(last, seq=last.seq + 100), 30.0)
                    kept.stop()
                    reached = await last_seq(stock)

                    async def sold_on(reached: int = reached) -> bool:
                        return await last_seq(stock) > reached + 500

                    await until(sold_on, SECONDS)
                    with pytest.raises(Unavailable):
                        await ledger.position(0)
                    kept.child = server.start()
            finally:
                selling.set()
                await shop
            await recorded(stock, ledger)
            await trimmed(stock, redis)
        await assert_recorded_once(stock, url)
        await ledger.close()
        await stock.close()
        await pool.close()
