"""The retailer's day, from opening to closing."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx2
import nats
import structlog

from atp_service.demo import opening
from atp_service.demo.chance import chance
from atp_service.demo.feeds import Feeds
from atp_service.demo.pauses import Pauses
from atp_service.demo.replenishment import Replenishment
from atp_service.demo.service import Service
from atp_service.demo.shoppers import Shoppers
from atp_service.demo.tills import heartbeats, tills

log = structlog.get_logger()

CLOSING_SECONDS = 3.0


async def trade(
    api_url: str,
    nats_url: str,
    *,
    seed: int,
    speed: float,
    clock: Callable[[], datetime],
    closing: asyncio.Event,
) -> None:
    """Trade until `closing` is set; then serve the shoppers inside, for a few seconds at most.

    The seed decides what the shoppers do. The time of the start is part of all ids: no two starts
    share one. With `speed` 2 time passes twice as fast.
    """
    run = f"{int(clock().timestamp() * 1000):x}"
    pauses = Pauses(closing, speed)
    client = await nats.connect(nats_url, name="demo", max_reconnect_attempts=-1)
    try:
        async with httpx2.AsyncClient(base_url=api_url, timeout=10) as http:
            service, feeds = Service(http), Feeds(client, run, clock)
            day = asyncio.create_task(_day(service, feeds, seed, run, pauses))
            closed = asyncio.create_task(closing.wait())
            await asyncio.wait((day, closed), return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            await asyncio.wait((day,), timeout=CLOSING_SECONDS)
            day.cancel()
            await asyncio.wait((day,))
            if not day.cancelled():
                day.result()
    finally:
        await client.close()
    log.info("demo_closed", run=run)


async def _day(service: Service, feeds: Feeds, seed: int, run: str, pauses: Pauses) -> None:
    await opening.describe(service)
    async with asyncio.TaskGroup() as people:
        people.create_task(heartbeats(feeds, pauses))
        await opening.stock(feeds)
        log.info("demo_opened", run=run, seed=seed)
        people.create_task(tills(feeds, chance(seed, "tills"), pauses))
        replenishment = Replenishment(service, feeds, chance(seed, "stock"), run)
        people.create_task(replenishment.rounds(pauses))
        shoppers = Shoppers(service, feeds, chance(seed, "shoppers"), run)
        people.create_task(shoppers.come_and_go(pauses))
