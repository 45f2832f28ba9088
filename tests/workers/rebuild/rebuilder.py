"""A rebuild in a process of its own, to be killed and frozen: rebuilder.py REDIS DATABASE STAGE.

At the stage it says so, and waits to be killed, or frozen and told to go on.
"""

import asyncio
import sys
from typing import Any

from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger
from atp_service.workers import rebuild
from atp_service.workers.rebuild.restore import Restore


def _wait_in_the_middle() -> None:
    """Before the dedupe marks: levels, reservations and orders are in, nothing else."""
    marks = Restore._marks

    async def wait_first(restore: Any) -> None:
        await restore.target._send()
        await restore.target._send()
        print("filling", flush=True)
        sys.stdin.readline()
        await marks(restore)

    Restore._marks = wait_first  # type: ignore[method-assign,assignment]


async def main(redis_url: str, database_url: str, stage: str) -> None:
    def wait(reached: str, _share: float | None, _detail: str) -> None:
        if reached == stage:
            print(stage, flush=True)
            sys.stdin.readline()

    if stage == "filling":
        _wait_in_the_middle()
    async with AsyncConnectionPool(database_url, min_size=1, max_size=4) as pool:
        ledger = Ledger(pool)
        facts: Any = None  # there is no NATS here
        tools = rebuild.Tools(
            redis_url=redis_url,
            database_url=database_url,
            ledger=ledger,
            facts_on=lambda _: facts,
            nats=None,
            stream="",
            consumer="",
            window_ms=86_400_000,
            partition=0,
            partitions=1,
        )
        report = await rebuild.rebuild(tools, by_hand=True, show=wait)
        print(report, flush=True)
        await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
