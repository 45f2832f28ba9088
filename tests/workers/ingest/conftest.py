"""A retailer, an empty NATS with the stream of events, and workers that ingest them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from atp_service.jetstream.stream import STREAM, ensure_stream
from atp_service.workers import ingest
from tests.retailer import Retailer, until

CONSUMER = "ingest"


class Stream:
    """The stream, as its publishers see it."""

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
        """Messages that are not acknowledged; all of them before the first worker starts."""
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
async def worker_process(
    redis_url: str, nats_url: str, ledger_url: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own, which is killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "atp_service", "worker", "--only", "ingest"),
        env=os.environ
        | {
            "ATP_REDIS_URL": redis_url,
            "ATP_NATS_URL": nats_url,
            "ATP_DATABASE_URL": ledger_url,
            "ATP_LOG_LEVEL": "error",
        },
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


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
