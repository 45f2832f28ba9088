"""Fetch, apply, acknowledge, for ever.

A message is acknowledged when its events are on disk in Redis, as stock or as parked exceptions.
Any number of workers share the consumer. A message that a worker leaves unfinished is delivered
once more, and events that were applied are then known. The end of a snapshot is applied when every
message before it is acknowledged, whichever worker has it (docs/decisions/0028).
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from atp_service.facts import LINES_WAITING, Arrival, EventResult, Facts, arrival_of
from atp_service.jetstream.delivery import delivery_of
from atp_service.jetstream.pull import Gone, Pull
from atp_service.jetstream.stream import CONSUMER, STREAM, ensure_consumer, ensure_stream, is_next
from atp_service.ledger import Ledger
from atp_service.metrics import REGISTRY
from atp_service.pause import pause
from atp_service.store import Fenced, Unavailable
from atp_service.workers.ingest.retention import make_room

log = structlog.get_logger()

WAIT_SECONDS: Final = 0.5  # how late a stop may be noticed by a worker without work
SHORTEST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
LONGEST_DELAY_SECONDS: Final = 60.0
ENDS_SECONDS: Final = 3.0  # for the ends of snapshots in a group; well below ACK_WAIT_SECONDS
ENDS_PAUSE_SECONDS: Final = 0.02
ROOM_EVERY_SECONDS: Final = 60.0

_pending = Gauge(
    "atp_ingest_pending",
    "Messages on the stream that no worker has fetched yet",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
_messages = Counter("atp_ingest_messages", "Messages fetched and done with", registry=REGISTRY)
_waiting = Counter(
    "atp_ingest_waiting", "Messages put back, to be delivered once more", registry=REGISTRY
)


async def run(client: Client, facts: Facts, ledger: Ledger, *, stop: asyncio.Event) -> None:
    """Ingest until the stop; the group in flight is finished."""
    seconds = SHORTEST_PAUSE_SECONDS
    while not stop.is_set():
        try:
            jetstream = client.jetstream()
            await ensure_stream(jetstream)
            await ensure_consumer(jetstream)
            seconds = SHORTEST_PAUSE_SECONDS
            async with Pull(client, STREAM, CONSUMER) as pull:
                log.info("ingest_started", stream=STREAM, consumer=CONSUMER)
                await _Ingest(client, pull, facts, ledger, stop).run()
        # JetStream's errors are nats's errors; a request may also just not be answered.
        except (Gone, nats.errors.Error, TimeoutError, OSError) as fault:
            log.warning("ingest_interrupted", reason=str(fault) or type(fault).__name__)
            await pause(stop, seconds)
            seconds = min(seconds * 2, LONGEST_PAUSE_SECONDS)
    log.info("ingest_stopped")


class _Ingest:
    """Ingesting while stream and consumer are there. One group is read while another is written."""

    def __init__(
        self, client: Client, pull: Pull, facts: Facts, ledger: Ledger, stop: asyncio.Event
    ) -> None:
        self._client = client
        self._pull = pull
        self._facts = facts
        self._ledger = ledger
        self._stop = stop
        self._room_made_at = 0.0

    async def run(self) -> None:
        before: asyncio.Task[None] | None = None
        try:
            while not self._stop.is_set():
                group = await self._pull.group(WAIT_SECONDS)
                if group:
                    # Its commands queue at the door behind those of the group before.
                    taking = asyncio.create_task(self._take(group))
                    if before is not None:
                        await before
                    before = taking
                if time.monotonic() > self._room_made_at + ROOM_EVERY_SECONDS:
                    self._room_made_at = time.monotonic()
                    await make_room(self._client.jetstream(), self._ledger)
        finally:
            if before is not None:
                await before

    async def _take(self, group: Sequence[Msg]) -> None:
        """Apply a group and acknowledge it; else JetStream delivers it once more."""
        results = await self._until_applied([_arrival(message) for message in group])
        ends = []
        try:
            for message, events in zip(group, results, strict=True):
                if any(event.reason == LINES_WAITING for event in events):
                    ends.append(message)
                else:
                    await self._answer(message, events)
            await self._take_ends(ends)
        except (nats.errors.Error, TimeoutError) as fault:
            log.warning("acknowledgement_failed", reason=str(fault) or type(fault).__name__)
        _messages.inc(len(group))
        _pending.set(delivery_of(group[-1].reply).pending)

    async def _take_ends(self, ends: Sequence[Msg]) -> None:
        """Apply ends of snapshots, each when all messages before it are acknowledged.

        The rest is put back after ENDS_SECONDS: another worker may be slow, or frozen.
        """
        deadline = time.monotonic() + ENDS_SECONDS
        for message in sorted(ends, key=lambda end: delivery_of(end.reply).seq):
            if await self._is_next(message, deadline):
                (events,) = await self._until_applied([_arrival(message, in_order=True)])
                await self._answer(message, events)
            else:
                await self._put_back(message)

    async def _is_next(self, message: Msg, deadline: float) -> bool:
        seq = delivery_of(message.reply).seq
        while not await is_next(self._client.jetstream(), STREAM, CONSUMER, seq):
            if time.monotonic() >= deadline or self._stop.is_set():
                return False
            await pause(self._stop, ENDS_PAUSE_SECONDS)
        return True

    async def _answer(self, message: Msg, events: Sequence[EventResult]) -> None:
        if any(event.status == "waiting" for event in events):
            await self._put_back(message)
        else:
            await self._pull.acknowledge(message)

    async def _put_back(self, message: Msg) -> None:
        await self._pull.put_back(message, _delay_seconds(message))
        _waiting.inc()

    async def _until_applied(self, arrivals: Sequence[Arrival]) -> Sequence[Sequence[EventResult]]:
        """The results of each arrival's events. While Redis is away it tries until the stop."""
        seconds = SHORTEST_PAUSE_SECONDS
        while True:
            try:
                return await self._facts.apply_each(arrivals)
            except (Unavailable, Fenced) as away:
                log.warning("ingest_waits_for_redis", reason=str(away), seconds=seconds)
                if await pause(self._stop, seconds):
                    return [[EventResult(None, None, "waiting")]] * len(arrivals)
                seconds = min(seconds * 2, LONGEST_PAUSE_SECONDS)


def _arrival(message: Msg, *, in_order: bool = False) -> Arrival:
    delivery = delivery_of(message.reply)
    return arrival_of(message.data, message.subject, delivery, message.headers, in_order=in_order)


def _delay_seconds(message: Msg) -> float:
    """Longer with each delivery, so that many that wait don't keep a worker busy."""
    return min(2.0 ** delivery_of(message.reply).deliveries, LONGEST_DELAY_SECONDS)
