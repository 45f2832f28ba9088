"""A retailer, an empty NATS with the stream of events, and workers that ingest them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from atp_service.embedded.postgres import Postgres
from atp_service.jetstream.stream import STREAM, ensure_stream
from atp_service.workers import ingest
from tests.facts.trade import Retailer, fresh_database, retailer, until

CONSUMER = "ingest"


@pytest.fixture
def postgres(_postgres_server: Postgres) -> Postgres:
    """The server, for tests that shut somebody out."""
    return _postgres_server


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
async def shop(redis_url: str, ledger_url: str) -> AsyncIterator[Retailer]:
    async with retailer(redis_url, ledger_url) as running:
        yield running


class Stream:
    """The stream, as those who publish to it and look at it see it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._jetstream = client.jetstream()

    async def publish(
        self, *events: dict[str, Any] | bytes, subject: str = "atp.events.wms.dc-1"
    ) -> None:
        """Publish events; they are on the stream when this returns."""
        payloads = [t if isinstance(t, bytes) else msgspec.json.encode(t) for t in events]
        await asyncio.gather(
            *[await self._jetstream.publish_async(subject, payload) for payload in payloads]
        )

    async def left(self) -> int:
        """Messages that nobody has acknowledged; all of them while nobody has begun."""
        try:
            consumer = await self._jetstream.consumer_info(STREAM, CONSUMER)
        except NotFoundError:
            return int((await self._jetstream.stream_info(STREAM)).state.messages)
        return int(consumer.num_pending or 0) + int(consumer.num_ack_pending or 0)

    async def drained(self, seconds: float = 20.0) -> None:
        async def nothing_is_left() -> bool:
            return await self.left() == 0

        await until(nothing_is_left, seconds)


@pytest.fixture
async def stream(empty_nats: Client) -> Stream:
    await ensure_stream(empty_nats.jetstream())
    return Stream(empty_nats)


@asynccontextmanager
async def worker(shop: Retailer, nats_url: str) -> AsyncIterator[None]:
    """A worker with a connection of its own; at the end it is stopped as a worker is."""
    client = await nats.connect(nats_url, max_reconnect_attempts=-1)
    stop = asyncio.Event()
    work = asyncio.create_task(ingest.run(client, shop.facts, shop.ledger, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await work
        await client.close()
