"""One run at a time, whoever does it, and whatever becomes of them: no harm, and a clear reason."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from atp_service.embedded.postgres import Postgres
from atp_service.inventory.outcomes import Held
from atp_service.ledger import reconciliations
from atp_service.ledger.reconciliations import BROKEN_OFF, Reconciliation, Scope
from atp_service.postgres import Unavailable
from atp_service.workers import reconcile
from tests.builders import hold, sale
from tests.recorders import SECONDS
from tests.retailer import away, until
from tests.workers.reconcile.test_damage import in_level
from tests.workers.reconcile.trade import Shop, assorted, level_name

ROOT = Path(__file__).parents[2]


@contextmanager
def nothing_recorded(shop: Shop) -> Iterator[None]:
    """The recorder waits for the position; so does whoever waits for the ledger."""
    connection = psycopg.connect(shop.database_url)
    try:
        connection.execute("SELECT FROM positions FOR UPDATE")
        yield
    finally:
        connection.close()


@contextmanager
def reconciler(redis_url: str, shop: Shop, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as told:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.workers.reconcile.reconciler",
                redis_url,
                shop.database_url,
                str(len(shop.store.partitions)),
            ],
            cwd=ROOT,
            stdout=told,
            stderr=told,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


async def asked(shop: Shop) -> int:
    run = await reconciliations.request(shop.ledger, Scope(), repair=True, asked_by="test")
    return run.id


async def run_of(shop: Shop, run_id: int) -> Reconciliation:
    run = await reconciliations.get(shop.ledger, run_id)
    assert run is not None
    return run


async def over(shop: Shop, run_id: int) -> Reconciliation:
    async def finished() -> bool:
        with suppress(Unavailable):
            return (await run_of(shop, run_id)).status in ("done", "failed")
        return False

    await until(finished, SECONDS)
    return await run_of(shop, run_id)


@asynccontextmanager
async def reconciling(shop: Shop, every_seconds: float = 0) -> AsyncIterator[None]:
    """A worker with the role reconcile."""
    stop = asyncio.Event()
    worker = asyncio.create_task(
        reconcile.run(
            shop.store, shop.ledger, shop.database_url, stop=stop, every_seconds=every_seconds
        )
    )
    try:
        yield
    finally:
        stop.set()
        await worker


async def test_one_that_was_frozen_and_goes_on_later_repairs_nothing_twice(
    shop: Shop, redis_url: str, tmp_path: Path
) -> None:
    await assorted(shop)
    with reconciler(redis_url, shop, tmp_path / "reconciler.log") as frozen:
        assert (await over(shop, await asked(shop))).status == "done"
        await in_level(level_name("SKU-0"), 0, lambda units: units + 5)(shop)
        with nothing_recorded(shop):
            first = await asked(shop)
            # What it has read can't be compared yet: it waits for the ledger.
            await shop.store.apply(sale("SKU-0"))

            async def waits() -> bool:
                run = await run_of(shop, first)
                return run.status == "running" and run.report.seconds > 1

            await until(waits, SECONDS)
            async with reconciliations.lease(shop.database_url) as second:
                assert second is None
            frozen.send_signal(signal.SIGSTOP)
        repaired = 0

        async def taken_over() -> bool:
            nonlocal repaired
            async with reconciliations.lease(shop.database_url) as lease:
                if lease is None:
                    return False
                run_id = await asked(shop)
                await reconcile.work_off(shop.store, shop.ledger, lease, asyncio.Event())
            repaired = (await run_of(shop, run_id)).report.repaired
            return True

        await until(taken_over, SECONDS)
        assert repaired == 1
        broken_off = await run_of(shop, first)
        assert (broken_off.status, broken_off.report.reason) == ("failed", BROKEN_OFF)
        await shop.do(sale("SKU-0"))
        frozen.send_signal(signal.SIGCONT)
        after = await over(shop, await asked(shop))
    assert (after.status, after.report.drift_total) == ("done", 0)
    assert shop.asked("SELECT count(*) FROM entries WHERE kind = 'repair_level'") == [(1,)]
    (level,) = await shop.store.levels([("SKU-0", "DC-1")])
    assert level is not None
    assert level.on_hand == 1_000 - 2


async def test_postgres_away_ends_the_run_with_a_reason_and_selling_goes_on(
    shop: Shop, postgres: Postgres
) -> None:
    await assorted(shop)
    async with reconciling(shop):
        with nothing_recorded(shop):
            await shop.store.apply(sale("SKU-0"))
            await in_level(level_name("SKU-0"), 0, lambda units: units + 5)(shop)
            run_id = await asked(shop)

            async def running() -> bool:
                return (await run_of(shop, run_id)).status == "running"

            await until(running, SECONDS)
            with away(postgres, shop.database_url):
                with pytest.raises(Unavailable):
                    await asked(shop)
                assert isinstance(await shop.store.apply(hold("cart-now", "SKU-1")), Held)
                with pytest.raises(psycopg.OperationalError):
                    psycopg.connect(shop.database_url)
        assert (await over(shop, run_id)).status == "failed"

        async def answered() -> bool:
            try:
                run = await over(shop, await asked(shop))
            except Unavailable:
                return False
            return (run.status, run.report.repaired) == ("done", 1)

        await until(answered, SECONDS)
    assert await shop.drift() == []


async def test_a_fenced_redis_is_not_compared(shop: Shop) -> None:
    await assorted(shop)
    meta = shop.store.partition_of("SKU-0").keys.meta
    epoch: Any = await shop.redis.hget(meta, "epoch")
    await shop.redis.hdel(meta, "epoch")
    run = await shop.reconcile()
    assert run.status == "failed"
    assert (run.report.reason or "").startswith("Redis is fenced")
    await shop.redis.hset(meta, "epoch", epoch)
    assert await shop.drift() == []


async def test_a_worker_reconciles_every_so_often_and_counts_what_others_did(shop: Shop) -> None:
    await assorted(shop)

    async def scheduled() -> bool:
        return len(shop.asked("SELECT FROM reconciliations WHERE status = 'done'")) >= 2

    async with reconciling(shop, every_seconds=1), reconciling(shop, every_seconds=1):
        await until(scheduled, SECONDS)
    started = shop.asked(
        "SELECT asked_by, requested_at - lag(requested_at) OVER (ORDER BY id) >= '0.9 s'"
        " FROM reconciliations ORDER BY id"
    )
    assert {row[0] for row in started} == {"schedule"}
    assert all(row[1] for row in started[1:])


async def test_who_asks_where_no_worker_is_about_does_it_alone(shop: Shop) -> None:
    await assorted(shop)
    await in_level(level_name("SKU-0"), 0, lambda units: units + 5)(shop)
    seen: list[str] = []
    run = await reconcile.reconciled(
        shop.store,
        shop.ledger,
        shop.database_url,
        Scope(),
        repair=True,
        show=lambda so_far: seen.append(so_far.status),
    )
    assert (run.status, run.report.repaired) == ("done", 1)
    assert (seen[0], seen[-1]) == ("requested", "done")
