"""The whole edge on real servers: a retailer with two locations and a channel, and a caller."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service import api
from atp_service.catalog import Catalog, Channel, Feed, Location, Sku
from atp_service.facts import Facts
from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.recorders import recording
from tests.retailer import now_ms

Stocked = Callable[..., Awaitable[None]]


class Service:
    """The parts behind the edge, and the edge."""

    def __init__(
        self, redis_url: str, pool: AsyncConnectionPool[Any], *, auto_create: bool, partitions: int
    ) -> None:
        self.pool = pool
        self.ledger = Ledger(pool)
        self.catalog = Catalog(pool)
        self.store = Store(redis_url, partitions=partitions, name="api-test")
        self.facts = Facts(
            self.store,
            self.ledger,
            self.catalog,
            auto_create=auto_create,
            dedupe_hours=24,
            clock=now_ms,
        )
        self.app = api.create(
            store=self.store,
            ledger=self.ledger,
            catalog=self.catalog,
            facts=self.facts,
            auto_create=auto_create,
            now_ms=now_ms,
            ledger_timeout_seconds=1.0,
        )

    async def close(self) -> None:
        await self.store.close()
        await self.ledger.close()


@asynccontextmanager
async def serving(
    redis_url: str, database_url: str, *, auto_create: bool = False, partitions: int = 1
) -> AsyncIterator[Service]:
    """A service on these servers; the ledger starts empty, as Redis does."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        database_url, min_size=1, max_size=4, open=False, kwargs={"autocommit": False}
    )
    async with pool:
        async with pool.connection() as connection:
            for table in ("locations", "skus", "channels", "feeds"):
                await connection.execute(f"DELETE FROM {table}")
        service = Service(redis_url, pool, auto_create=auto_create, partitions=partitions)
        await service.catalog.load()
        await service.store.open(service.ledger)
        try:
            yield service
        finally:
            await service.close()


def caller(service: Service) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app), base_url="http://atp.test"
    )


async def describe(catalog: Catalog) -> None:
    """The retailer."""
    await catalog.put(Location(id="DC-1", name="The warehouse", kind="dc"))
    await catalog.put(Location(id="store-042", name="High Street"))
    await catalog.put(Sku(sku="SKU-1"))
    await catalog.put(Sku(sku="SKU-2"))
    await catalog.put(Channel(id="web"))
    await catalog.put(Feed(id="wms/dc-1", kind="wms", locations=["DC-1"]))


@pytest.fixture
async def service(redis_url: str, database_url: str) -> AsyncIterator[Service]:
    async with serving(redis_url, database_url) as running:
        await describe(running.catalog)
        yield running


@pytest.fixture
async def recorded_service(redis_url: str, ledger_url: str) -> AsyncIterator[Service]:
    """As `service`, and its entries reach a ledger that is its own."""
    async with serving(redis_url, ledger_url) as running:
        await describe(running.catalog)
        async with recording(running.store, ledger_url):
            yield running


@pytest.fixture
async def shop(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller of the service."""
    async with caller(service) as client:
        yield client


@pytest.fixture
def stocked(shop: httpx2.AsyncClient) -> Stocked:
    """Receives units at a location."""
    number = iter(range(1, 1_000_000))

    async def receive(quantity: int, sku: str = "SKU-1", location: str = "DC-1") -> None:
        event = stock_event("receipt", sku=sku, location=location, quantity=quantity)
        event["id"] = f"receipt-{next(number)}-{now_ms()}"
        answer = await shop.post("/v1/stock-events", json=event)
        assert answer.json()["results"][0]["status"] == "applied", answer.text

    return receive


def stock_event(kind: str, **data: Any) -> dict[str, Any]:
    """A canonical event of the warehouse's feed, of now."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return {
        "specversion": "1.0",
        "id": f"{kind}-{time.monotonic_ns()}",
        "source": "wms/dc-1",
        "type": f"atp.stock.{kind}.v1",
        "time": f"{moment}.000Z",
        "data": data,
    }
