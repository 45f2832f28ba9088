"""A Redis that hangs is waited for once, and by nobody longer than for one answer."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from redis.asyncio import Redis

from atp_service.store.connection import ANSWER_SECONDS
from tests.api.conftest import Stocked
from tests.api.test_reservations import cart, problem
from tests.retailer import until


@asynccontextmanager
async def hung(redis: Redis) -> AsyncIterator[None]:
    """Redis takes whatever it is sent, and answers nothing."""
    pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_who_asks_a_redis_that_hangs_waits_for_one_answer_however_many_it_would_take(
    shop: httpx2.AsyncClient, stocked: Stocked, redis: Redis
) -> None:
    """Also who comes while others wait already, and who comes when they have given up."""
    await stocked(5)
    questions = ("/v1/availability?sku=SKU-1", "/v1/reservations/cart-1")
    await asyncio.gather(*map(shop.get, questions))

    async def refused(path: str) -> None:
        began = time.monotonic()
        problem(await shop.get(path), 503, "unavailable")
        assert time.monotonic() - began < ANSWER_SECONDS + 1

    async with hung(redis):
        first = asyncio.gather(*map(refused, questions))
        refusing = asyncio.create_task(shop.post("/v1/reservations", json=cart()))
        await asyncio.wait([first], timeout=ANSWER_SECONDS / 5)
        await asyncio.gather(first, *map(refused, questions * 5))
        problem(await refusing, 503, "unavailable")
        await refused(questions[0])

    async def answered() -> bool:
        return (await shop.get(questions[0])).status_code == 200

    await until(answered, 20)
    # What the hold came to is definite with the same id.
    assert (await shop.post("/v1/reservations", json=cart())).status_code in (200, 201)
