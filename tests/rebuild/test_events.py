"""Events that Redis had taken and the ledger had not: NATS still has them."""

from redis.asyncio import Redis

from tests.facts.trade import Retailer, event, now_ms, until
from tests.ingest.conftest import Stream, stream, worker
from tests.rebuild.mending import looked_after, tools
from tests.rebuild.test_lost_writes import opened_in

__all__ = ["stream"]


async def test_events_that_only_nats_still_has_are_replayed(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, redis_url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        async with looked_after(mending, shop):
            await stream.publish(event("receipt", quantity=100))
            await stream.drained()
            await shop.recorded()
        # Taken and acknowledged; nobody records.
        await stream.publish(*[event("sale", quantity=1) for _ in range(20)])
        await stream.publish(b"not json")
        await stream.drained()
        assert await shop.on_hand() == 80
    await redis.flushall()
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        assert await shop.on_hand() == 80
        await shop.recorded()
        assert len(await shop.ledger.exceptions(kind="malformed")) == 1
        ((replayed, report),) = await rebuilds(shop)
        assert replayed
        assert (report["events_replayed"], report["events_news"]) == (22, 21)


async def test_where_nats_is_away_redis_opens_and_the_events_come_later(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    async with worker(shop, nats_url):
        async with looked_after(tools(shop, redis_url, ledger_url), shop):
            await stream.publish(event("receipt", quantity=100))
            await stream.drained()
            await shop.recorded()
        await stream.publish(event("sale", quantity=7))
        # Long before, and known all the same.
        await stream.publish(event("receipt", quantity=1, at_ms=now_ms() - 40 * 3_600_000))
        await stream.drained()
    await redis.flushall()
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await opened_in(shop, 2)
        assert await shop.on_hand() == 100
        ((replayed, _),) = await rebuilds(shop)
        assert not replayed
    # The worker starts anew, and NATS is there.
    async with looked_after(tools(shop, redis_url, ledger_url, stream.client), shop):

        async def came() -> bool:
            return await shop.on_hand() == 94

        await until(came)

        async def noted() -> bool:
            ((replayed, _),) = await rebuilds(shop)
            return replayed

        await until(noted)


async def rebuilds(shop: Retailer) -> list[tuple[bool, dict[str, int]]]:
    async with shop.ledger.connection() as connection:
        cursor = await connection.execute("SELECT replayed_at IS NOT NULL, report FROM rebuilds")
        return await cursor.fetchall()
