"""The wire: one connection, and nobody gets an answer that was meant for another."""

import asyncio

from redis.asyncio import Redis

from atp_service.store.connection import Wire


async def test_who_gives_up_is_let_go_at_once_and_leaves_no_answer_to_the_next(
    redis_url: str, redis: Redis
) -> None:
    wire = Wire(redis_url, name="test")
    await wire.exchange([("PING",)])
    await redis.client_pause(60_000, all=False)  # for writes
    for turns in range(5):
        asked = asyncio.create_task(wire.exchange([("INCR", "asked")]))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked], timeout=2)
        assert asked.cancelled()
        assert await wire.exchange([("ECHO", "next")]) == [b"next"]
    await redis.client_unpause()
    await wire.close()
