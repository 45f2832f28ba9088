"""A small retailer on real servers, and the events its tills, warehouses and ERP send."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import psycopg.conninfo
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from atp_service.catalog import Catalog, Feed, Location, Sku
from atp_service.embedded.postgres import SERVICE, Postgres, create_database
from atp_service.facts import Arrival, EventResult, Facts
from atp_service.inventory.stock import StockLevel
from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.recorders import recorded, recording

TILL, WAREHOUSE, ERP = "pos/store-042", "wms/dc-1", "erp"
STORE, DC = "store-042", "DC-1"
_numbers = count(1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def event(
    kind: str,
    *,
    id: str | None = None,  # noqa: A002  # the envelope's own word
    source: str = WAREHOUSE,
    at_ms: int | None = None,
    **data: Any,
) -> dict[str, Any]:
    """A canonical event; by default a new one of now, for SKU-1 at DC-1."""
    moment = datetime.fromtimestamp((at_ms if at_ms is not None else now_ms()) / 1000, UTC)
    place = {} if kind.startswith("transfer") or kind == "heartbeat" else {"location": DC}
    return {
        "specversion": "1.0",
        "id": id or f"{kind}-{next(_numbers)}",
        "source": source,
        "type": f"atp.stock.{kind}.v1",
        "time": moment.isoformat(timespec="milliseconds"),
        "data": {"sku": "SKU-1", **place, **data},
    }


class Retailer:
    """The service below its edges, and what a test asks of it."""

    def __init__(
        self, redis_url: str, pool: AsyncConnectionPool[Any], *, auto_create: bool, partitions: int
    ) -> None:
        self._redis_url = redis_url
        self.pool = pool
        self.ledger = Ledger(pool)
        self.catalog = Catalog(pool)
        self.store = Store(redis_url, partitions=partitions, name="facts-test")
        self.facts = Facts(
            self.store,
            self.ledger,
            self.catalog,
            auto_create=auto_create,
            dedupe_hours=24,
            clock=now_ms,
        )

    async def tell(
        self, *events: dict[str, Any] | bytes, subject: str | None = None
    ) -> list[EventResult]:
        """Apply events in one call, as HTTP does, or as NATS does where there is a subject."""
        applied = await self.facts.apply(
            [
                Arrival(
                    told if isinstance(told, bytes) else msgspec.json.encode(told),
                    subject,
                    f"ATP_EVENTS/{next(_numbers)}/1",
                )
                for told in events
            ]
        )
        return [result for results in applied for result in results]

    async def statuses(self, *events: dict[str, Any] | bytes) -> list[str]:
        return [result.status for result in await self.tell(*events)]

    async def level(self, sku: str = "SKU-1", location: str = DC) -> StockLevel:
        (level,) = await self.store.levels([(sku, location)])
        return level or StockLevel()

    async def on_hand(self, sku: str = "SKU-1", location: str = DC) -> int:
        return (await self.level(sku, location)).on_hand

    async def incoming(self, document: str, location: str = DC) -> int:
        known = (await self.level(location=location)).extras.documents.get(document)
        return 0 if known is None else known.incoming

    async def forget_seen(self) -> None:
        """As when the dedupe window has passed."""
        async with Redis.from_url(self._redis_url) as client:
            for partition in self.store.partitions:
                await client.delete(partition.keys.seen, partition.keys.seen_before)

    @asynccontextmanager
    async def recording(self, database_url: str) -> AsyncIterator[None]:
        """The recorder runs; at the end everything is in the ledger."""
        async with recording(self.store, database_url):
            yield
            await self.recorded()

    async def recorded(self) -> None:
        """Wait until the ledger has all that has happened so far."""
        await recorded(self.store, self.ledger)


@asynccontextmanager
async def retailer(
    redis_url: str, database_url: str, *, auto_create: bool = False, partitions: int = 1
) -> AsyncIterator[Retailer]:
    """A retailer that has a store, a warehouse, their feeds, and two SKUs; nothing in stock."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        database_url, min_size=1, max_size=4, timeout=2.0, open=False
    )
    async with pool:
        running = Retailer(redis_url, pool, auto_create=auto_create, partitions=partitions)
        try:
            await running.store.open(running.ledger)
            await describe(running.catalog)
            await running.catalog.load()
            yield running
        finally:
            await running.store.close()
            await running.ledger.close()


async def describe(catalog: Catalog) -> None:
    await catalog.put(Location(id=STORE))
    await catalog.put(Location(id=DC, kind="dc"))
    await catalog.put(Sku(sku="SKU-1", units={"CASE": 12, "HALF": "1/2"}))
    await catalog.put(Sku(sku="SKU-2", aliases={TILL: ["4711"], "gtin": ["05012345678900"]}))
    await catalog.put(Feed(id=TILL, kind="pos", locations=[STORE], owner="stores"))
    await catalog.put(Feed(id=WAREHOUSE, kind="wms", locations=[DC]))
    await catalog.put(
        Feed(id=ERP, kind="erp", sku_map={"0001": "SKU-1"}, location_map={"W1": DC, "S42": STORE})
    )


@contextmanager
def fresh_database(server: Postgres) -> Iterator[str]:
    """A migrated database of its own, for a test whose entries would be in another's way."""
    name = f"trade_{next(_numbers)}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        create_database(connection, name, "migrated")
        yield server.url(SERVICE, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def away(server: Postgres, url: str) -> Iterator[None]:
    """Postgres lets no client into the database, and has cut off all clients."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


@contextmanager
def hung(server_data: Path) -> Iterator[None]:
    """Postgres takes every request, and answers none."""
    (pid_file,) = server_data.glob("postgres-*/postmaster.pid")
    postmaster = int(pid_file.read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGSTOP)  # first: it must have no more children
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    stopped = [postmaster]
    try:
        for child in map(int, children):
            os.kill(child, signal.SIGSTOP)
            stopped.append(child)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def turnstile(server: Postgres, url: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Each call of the function lets one waiting reader of movements pass.

    Locks are given in the order in which they were asked for: the next is asked for behind the
    waiting reader, before the last is let go.
    """
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    address = server.url("postgres", str(name))
    lock = "LOCK TABLE movements IN ACCESS EXCLUSIVE MODE"
    waiting = """
        SELECT FROM pg_locks
        WHERE NOT granted AND relation = 'movements'::regclass AND mode = %s
        """

    async with (
        await psycopg.AsyncConnection.connect(address) as one,
        await psycopg.AsyncConnection.connect(address) as other,
    ):
        holding, next_ = one, other
        await holding.execute(lock)

        async def let_one_pass() -> None:
            nonlocal holding, next_
            await until(lambda: is_wanted("AccessShareLock"))
            locking = asyncio.create_task(next_.execute(lock))
            await until(lambda: is_wanted("AccessExclusiveLock"))
            await holding.rollback()
            await locking
            holding, next_ = next_, holding

        async def is_wanted(mode: str) -> bool:
            return (await holding.execute(waiting, [mode])).rowcount > 0

        yield let_one_pass


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait for something to become true; fail when it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s")
        await asyncio.sleep(0.02)
