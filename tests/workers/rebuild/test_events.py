"""Events that Redis had taken and the ledger had not: NATS still has them."""

from redis.asyncio import Redis

from atp_service.jetstream.stream import STREAM, ensure_stream
from atp_service.store import Fenced, Unavailable
from tests.retailer import Retailer, event, now_ms, until
from tests.workers.ingest.conftest import Stream, stream, worker
from tests.workers.rebuild.rebuild_setup import KEYS, NUMBER, looked_after, tools
from tests.workers.rebuild.test_lost_writes import opened_in

__all__ = ["stream"]


async def test_events_that_only_nats_still_has_are_replayed(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, redis_url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(mending, shop):
            await noted_through(shop, 1)
        # Taken and acknowledged; nobody records.
        await stream.publish(*[event("sale", quantity=1) for _ in range(20)])
        await stream.publish(b"not json")
        await stream.drained()
        assert await shop.on_hand() == 80
    await redis.flushall()
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        if len(shop.store.partitions) > 1:
            # Another partition may have been fenced at the rebuild: then the replay comes later.
            await sold_down_to(shop, 80)
            await noted_through(shop, 22)
        assert await shop.on_hand() == 80
        await shop.recorded()
        assert len(await shop.ledger.exceptions(kind="malformed")) == 1
        ((replayed, report),) = await rebuilds(shop)
        assert replayed
        if len(shop.store.partitions) == 1:
            # What was known to be recorded is not asked for again.
            assert (report["events_replayed"], report["events_news"]) == (21, 21)


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


async def test_events_that_lay_on_the_stream_for_hours_before_they_were_taken_in_are_replayed(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, redis_url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(mending, shop):
            await noted_through(shop, 1)
            await hours_pass(shop, redis)
        await stream.publish(*[event("sale", quantity=1) for _ in range(5)])
        await stream.drained()
    await redis.flushall()
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        assert await shop.on_hand() == 96
        await shop.recorded()


async def test_events_replayed_into_a_redis_that_is_lost_again_are_replayed_again(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    with_nats = tools(shop, redis_url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(with_nats, shop):
            await noted_through(shop, 1)
        await stream.publish(event("sale", quantity=7))
        await stream.drained()
    await redis.flushall()
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await opened_in(shop, 2)
        await hours_pass(shop, redis)

    # NATS is there again, and nobody records.
    async with looked_after(with_nats, shop, recording=False):

        async def came() -> bool:
            return await shop.on_hand() == 94

        await until(came)
    await redis.flushall()
    async with looked_after(with_nats, shop):
        await opened_in(shop, 3)
        assert await shop.on_hand() == 94
        await noted_through(shop, 2)
        assert [replayed for replayed, _ in await rebuilds(shop)] == [True, True]


async def test_events_lost_before_anything_was_recorded_are_replayed_beside_those_lost_later(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
    await redis.flushall()
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await opened_in(shop, 2)
        await hours_pass(shop, redis)
        await redis.flushall()
        await opened_in(shop, 3)
    async with looked_after(tools(shop, redis_url, ledger_url, stream.client), shop):

        async def came() -> bool:
            return await shop.on_hand() == 101

        await until(came)


async def test_a_stream_that_is_made_anew_is_replayed_from_its_beginning(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> None:
    mending = tools(shop, redis_url, ledger_url, stream.client)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        async with looked_after(mending, shop):
            await noted_through(shop, 1)
    jetstream = stream.client.jetstream()
    await jetstream.delete_stream(STREAM)
    await ensure_stream(jetstream)
    async with worker(shop, nats_url):
        await stream.publish(event("sale", quantity=7))
        await stream.drained()
    await redis.flushall()
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        assert await shop.on_hand() == 93


async def hours_pass(shop: Retailer, redis: Redis) -> None:
    """Redis's clock goes on by hours, and the ledger has an entry of then."""
    await redis.hset(KEYS.meta, "time", now_ms() + 5 * 3_600_000)
    await shop.tell(event("receipt", quantity=1))
    await shop.recorded()


async def sold_down_to(shop: Retailer, units: int) -> None:
    async def so() -> bool:
        try:
            return await shop.on_hand() == units
        except (Fenced, Unavailable):
            return False

    await until(so, 30.0)


async def noted_through(shop: Retailer, seq: int) -> None:
    """The ledger says that it has the stream up to here."""

    async def so() -> bool:
        async with shop.ledger.connection() as connection:
            query = "SELECT seq FROM streams_recorded WHERE partition = %s"
            cursor = await connection.execute(query, (NUMBER,))
            return await cursor.fetchall() == [(seq,)]

    await until(so, 30.0)  # it is looked every five


async def rebuilds(shop: Retailer) -> list[tuple[bool, dict[str, int]]]:
    async with shop.ledger.connection() as connection:
        cursor = await connection.execute(
            """
            SELECT replayed_at IS NOT NULL, report
            FROM rebuilds
            WHERE partition = %s
            ORDER BY id
            """,
            (NUMBER,),
        )
        return await cursor.fetchall()
