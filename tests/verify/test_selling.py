"""Verifying while selling goes on: no false alarm, and nothing waits."""

import asyncio

from atp_service.ledger import Ledger
from atp_service.store import Store
from atp_service.verify import Verification
from atp_service.verify.progress import Progress
from tests.recorders import last_seq, recording
from tests.verify.shop import DAY_MS
from tests.workers.record.trade import a_day


async def test_what_is_sold_meanwhile_is_no_difference(
    database_url: str, stock: Store, ledger: Ledger
) -> None:
    closing = asyncio.Event()

    async def sell() -> None:
        while not closing.is_set():
            await stock.apply_all(a_day(25))

    async with recording(stock, database_url):
        await stock.apply_all(a_day(2_000))
        selling = asyncio.create_task(sell())
        try:
            with Verification(database_url, DAY_MS, Progress()) as verification:
                await asyncio.to_thread(verification.walk_ledger)
                before = await stock.last_entries()
                await verification.compare_redis(stock, ledger)
                assert await last_seq(stock) > sum(entry.seq for entry in before)
                verdict = verification.verdict()
        finally:
            closing.set()
            await selling
    assert verdict.findings == []
    assert verdict.redis_not_compared is None
    for entry in before:
        assert verdict.through[entry.partition] >= entry.seq
