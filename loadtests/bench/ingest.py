"""Events from JetStream to Redis by one worker, against a loop that only fetches and acknowledges.

Sales over 2,000 SKUs that the catalog knows are on the stream beforehand. The worker's rate is
taken from the consumer while it is at work, without its start.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import msgspec
import nats
import uvloop
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from atp_service import app
from atp_service.jetstream.publisher import Publisher
from atp_service.jetstream.stream import CONSUMER, STREAM, ensure_stream
from atp_service.processes.child import Child
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import Instance, cpu_seconds, instance

RATE = 15_000
TARGET = 0.4
SKUS = 2_000
FETCH = 500
FEED = "pos/store-042"
SUBJECT = "atp.events.pos.store-042"
_LOOK_SECONDS = 0.02
_GIVE_UP_SECONDS = 300.0


def measure(*, quick: bool) -> Result:
    """Plain sale events; the worker runs ingest and nothing else."""
    rounds, events = (1, 20_000) if quick else (4, 100_000)
    rates: list[float] = []
    cpu_micros: list[float] = []
    bare: list[float] = []
    with instance() as here:
        uvloop.run(_know(here))
        numbers = count(1)
        for _ in range(rounds):
            first_seq = uvloop.run(_publish(here, numbers, events))
            worker = here.start("ingest", "atp_service", "worker", "--only", "ingest")
            rate, micros = uvloop.run(_watch(here, worker))
            worker.stop()
            rates.append(rate)
            cpu_micros.append(micros)
            bare.append(uvloop.run(_bare(here, first_seq, events)))
    return Result(
        checks=[
            Check(what="events/s", figures=rates, target=RATE, at_most=False, unit="/s"),
            Check(
                what=f"… / of a bare nats-py fetch({FETCH}) and ack loop",
                figures=ratios(rates, bare),
                target=TARGET,
                at_most=False,
            ),
        ],
        notes=[
            f"the bare loop {around(bare, '/s')}",
            f"the worker's CPU per event {around(cpu_micros, 'µs')}",
        ],
    )


async def _know(here: Instance) -> None:
    """The catalog knows SKUs, location and feed; the stream is there."""
    async with app.connections(here.settings, "bench") as parts:
        skus = [shop.sku(number) for number in range(SKUS)]
        places = [shop.LOCATION]
        await parts.catalog.ensure(
            skus=skus, locations=places, feeds=[(FEED, place) for place in places]
        )
        await ensure_stream(parts.nats.jetstream())


async def _publish(here: Instance, numbers: "count[int]", events: int) -> int:
    """The stream's sequence of the first of them."""
    encode = msgspec.json.Encoder().encode
    async with _connected(here) as client:
        info = await client.jetstream().stream_info(STREAM)
        async with Publisher(client, SUBJECT, print) as publisher:
            for _ in range(events):
                number = next(numbers)
                event = {
                    "specversion": "1.0",
                    "id": f"042-{number:09d}",
                    "source": FEED,
                    "type": "atp.stock.sale.v1",
                    "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
                    "data": {
                        "sku": shop.sku(number * 7 % SKUS),
                        "location": shop.LOCATION,
                        "quantity": 1 + number % 3,
                        "document": f"receipt-{number // 4}",
                    },
                }
                await publisher.publish(f"{FEED}:{event['id']}", encode(event))
            await publisher.settle()
        return info.state.last_seq + 1


async def _watch(here: Instance, worker: Child) -> tuple[float, float]:
    """Events/s and CPU µs an event, from the worker's first acknowledgement to its last."""
    async with _connected(here) as client:
        jetstream = client.jetstream()
        whole = await _left(jetstream)
        began, at_first, cpu = 0.0, 0, 0.0
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            left = await _left(jetstream)
            now = time.monotonic()
            if not began and left < whole:
                began, at_first, cpu = now, left, cpu_seconds(worker.pid)
            if not left:
                micros = (cpu_seconds(worker.pid) - cpu) / at_first * 1e6
                return at_first / (now - began), micros
            if worker.ended is not None or now > deadline:
                raise RuntimeError(f"ingest did not get there:\n{worker.last_words()}")
            await asyncio.sleep(_LOOK_SECONDS)


async def _left(jetstream: JetStreamContext) -> int:
    """Messages that are not acknowledged yet."""
    try:
        consumer = await jetstream.consumer_info(STREAM, CONSUMER)
    except nats.js.errors.NotFoundError:
        return (await jetstream.stream_info(STREAM)).state.messages
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)


async def _bare(here: Instance, first_seq: int, events: int) -> float:
    """Events/s of nats-py alone, over the same messages, on a consumer of its own."""
    async with _connected(here) as client:
        jetstream = client.jetstream()
        name = f"bare-{first_seq}"
        await jetstream.add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name=name,
                ack_policy=AckPolicy.EXPLICIT,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=first_seq,
                max_ack_pending=-1,
            ),
        )
        subscription = await jetstream.pull_subscribe_bind(name, STREAM)
        left, began = events, time.monotonic()
        while left > 0:
            messages = await subscription.fetch(FETCH, timeout=5)
            for message in messages:
                await message.ack()
            left -= len(messages)
        await client.flush()
        seconds = time.monotonic() - began
        await jetstream.delete_consumer(STREAM, name)
        return events / seconds


@asynccontextmanager
async def _connected(here: Instance) -> AsyncIterator[Client]:
    client = await nats.connect(here.settings.nats_url or "")
    try:
        yield client
    finally:
        await client.close()
