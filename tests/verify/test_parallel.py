"""The second process, which walks the first entries."""

import asyncio
import signal
import sys
from pathlib import Path

import psycopg

from tests.verify.shop import Shop
from tests.workers.record.trade import until

BESIDE_ITS_PARENT = """
import multiprocessing, sys, time
from functools import partial
from atp_service.ledger.read import raw_entries
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.parallel import second_process
from atp_service.verify.progress import Progress

url = sys.argv[1]
with second_process(Progress()) as second, raw_entries.connect(url) as connection:
    snapshot = raw_entries.export_snapshot(connection)
    second.walk(url, snapshot, partial(EntryWalk, 0, 1, execute=False), 20)
    second.result()
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""


async def test_the_second_process_ends_with_the_first_however_that_ends(shop: Shop) -> None:
    first = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BESIDE_ITS_PARENT,
        shop.database_url,
        stdout=asyncio.subprocess.PIPE,
    )
    assert first.stdout is not None
    second = Path("/proc") / (await first.stdout.readline()).decode().strip()
    first.send_signal(signal.SIGKILL)
    await first.wait()

    async def is_over() -> bool:
        return not second.exists() or ") Z " in (second / "stat").read_text()

    await until(is_over)

    async def nobody_is_connected() -> bool:
        with psycopg.connect(shop.owner_url) as connection:
            waiting = connection.execute(
                "SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            )
            return waiting.rowcount == 0

    await until(nobody_is_connected)
