"""A Redis that doesn't continue the ledger is answered from by no call, and readiness says so."""

from redis.asyncio import Redis

from atp_service.catalog import Feed, Location, Sku
from atp_service.embedded.postgres import Postgres
from tests.api.conftest import caller, serving, stock_event
from tests.api.test_reservations import problem
from tests.recorders import recorded, recording
from tests.retailer import fresh_database


async def test_after_redis_was_emptied_no_page_says_that_everything_is_sold_out(
    redis_url: str, redis: Redis, postgres: Postgres
) -> None:
    with fresh_database(postgres) as database_url:
        async with serving(redis_url, database_url) as service, caller(service) as shop:
            await service.catalog.put(Location(id="DC-1"))
            await service.catalog.put(Sku(sku="SKU-1"))
            await service.catalog.put(Feed(id="wms/dc-1"))
            receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
            await shop.post("/v1/stock-events", json=receipt)
            async with recording(service.store, database_url):
                await recorded(service.store, service.ledger)
            answer = await shop.get("/v1/availability?sku=SKU-1")
            assert answer.json()["items"][0]["ats"] == 5

            await redis.flushall()
            answer = await shop.get("/v1/availability?sku=SKU-1")
            document = problem(answer, 503, "fenced")
            assert document["title"] == "This Redis does not continue the ledger"
            assert "rebuilt" not in answer.text
            assert answer.headers["retry-after"]
            document = problem(await shop.get("/health/ready"), 503, "unavailable")
            assert document["dependencies"]["redis"] == {
                "state": "fenced",
                "warnings": ["Redis is empty, the ledger has 1 entries"],
            }
