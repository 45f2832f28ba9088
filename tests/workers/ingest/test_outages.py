"""Servers and workers die and come back; every event has its effect once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from atp_service.embedded.nats import Nats
from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey
from atp_service.jetstream.stream import STREAM, ensure_stream
from atp_service.processes.restarting_child import RestartingChild
from tests.recorders import last_seq
from tests.retailer import Retailer, event, retailer, until
from tests.workers.ingest.conftest import CONSUMER, Stream, worker, worker_process


class Restartable:
    """A server that a test may kill, and start again on its data."""

    def __init__(self, url: str, kept: RestartingChild, start: "Valkey | Nats") -> None:
        self.url = url
        self._child = kept.child
        self._server = start
        self._started_here = False

    def kill(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()

    def start(self) -> None:
        self._child = self._server.start()
        self._started_here = True

    def end(self) -> None:
        if self._started_here:
            self._child.stop()


@pytest.fixture
def valkey(tmp_path: Path, redis_program: Path | None) -> Iterator[Restartable]:
    server = Valkey(tmp_path, socket_folder(tmp_path), redis_program)
    with running([server]) as (kept,):
        mortal = Restartable(server.url, kept, server)
        yield mortal
        mortal.end()


@pytest.fixture
def mortal_nats(tmp_path: Path) -> Iterator[Restartable]:
    server = Nats(tmp_path)
    with running([server]) as (kept,):
        mortal = Restartable(server.url, kept, server)
        yield mortal
        mortal.end()


async def test_redis_may_die_and_come_back_while_events_arrive(
    valkey: Restartable, ledger_url: str, stream: Stream, nats_url: str
) -> None:
    async with retailer(valkey.url, ledger_url) as shop, worker(shop, nats_url):
        await stream.publish(*(event("receipt", quantity=1) for _ in range(500)))
        valkey.kill()
        await stream.publish(*(event("receipt", quantity=1) for _ in range(500)))
        assert await stream.left() > 0
        valkey.start()
        await stream.drained(30)
        assert await shop.on_hand() == 1_000


async def test_nats_may_die_and_come_back(shop: Retailer, mortal_nats: Restartable) -> None:
    client = await nats.connect(mortal_nats.url, max_reconnect_attempts=-1)
    await ensure_stream(client.jetstream())
    stream = Stream(client)
    async with worker(shop, mortal_nats.url):
        await stream.publish(*(event("receipt", quantity=1) for _ in range(500)))
        mortal_nats.kill()
        mortal_nats.start()

        async def back() -> bool:
            try:
                told = msgspec.json.encode(event("receipt", quantity=1, id="the one after"))
                await client.jetstream().publish("atp.events.wms.dc-1", told, timeout=1)
            except (nats.errors.Error, TimeoutError):
                return False
            return True

        await until(back, 20)
        await stream.drained(30)
    await client.close()
    assert await shop.on_hand() == 501


async def test_a_worker_killed_in_the_middle_leaves_nothing_out_and_counts_nothing_twice(
    shop: Retailer, stream: Stream, nats_url: str, redis_url: str, ledger_url: str
) -> None:
    # The server gives a killed worker's messages to others sooner than it would in production.
    await stream.client.jetstream().add_consumer(
        STREAM, ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
    )
    await stream.publish(*(event("receipt", quantity=1) for _ in range(5_000)))
    for _ in range(3):
        began_at = await last_seq(shop.store)
        async with worker_process(redis_url, nats_url, ledger_url):

            async def in_the_middle(past: int = began_at) -> bool:
                return await last_seq(shop.store) > past

            await until(in_the_middle, 30)
        if await stream.left() == 0:
            break
    async with worker(shop, nats_url):
        await stream.drained(30)
    assert await shop.on_hand() == 5_000
