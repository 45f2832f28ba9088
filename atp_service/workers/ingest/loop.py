"""Fetch, apply, acknowledge, for ever.

A message is acknowledged when what it says is on disk in Redis, as stock or as a parked exception.
Any number of workers share the consumer; what one of them leaves unfinished comes again, and is
then known.
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

from atp_service.facts import Arrival, EventResult, Facts, arrival_of
from atp_service.jetstream.delivery import delivery_of
from atp_service.jetstream.pull import Gone, Pull
from atp_service.jetstream.stream import (
    CONSUMER,
    STREAM,
    ensure_consumer,
    ensure_stream,
)
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
ROOM_EVERY_SECONDS: Final = 60.0

_pending = Gauge(
    "atp_ingest_pending",
    "Events on the stream that nobody has fetched yet",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
_messages = Counter("atp_ingest_messages", "Messages fetched and done with", registry=REGISTRY)
_waiting = Counter("atp_ingest_waiting", "Messages put back, to come again", registry=REGISTRY)


async def run(client: Client, facts: Facts, ledger: Ledger, *, stop: asyncio.Event) -> None:
    """Ingest until told to stop; then the group in flight is finished."""
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
        """Apply a group, acknowledge it; what can't be acknowledged comes again, and is known."""
        results = await self._until_applied([_arrival(message) for message in group])
        try:
            for message, result in zip(group, results, strict=True):
                if result.status == "waiting":
                    await self._pull.put_back(message, _delay_seconds(message))
                    _waiting.inc()
                else:
                    await self._pull.acknowledge(message)
        except nats.errors.Error as fault:
            log.warning("acknowledgement_failed", reason=str(fault) or type(fault).__name__)
        _messages.inc(len(group))
        _pending.set(delivery_of(group[-1].reply).pending)

    async def _until_applied(self, arrivals: Sequence[Arrival]) -> Sequence[EventResult]:
        """The results; while Redis is away, the same again and again, until told to stop."""
        seconds = SHORTEST_PAUSE_SECONDS
        while True:
            try:
                return await self._results(arrivals)
            except (Unavailable, Fenced) as away:
                log.warning("ingest_waits_for_redis", reason=str(away), seconds=seconds)
                if await pause(self._stop, seconds):
                    return [EventResult(None, None, "waiting")] * len(arrivals)
                seconds = min(seconds * 2, LONGEST_PAUSE_SECONDS)

    async def _results(self, arrivals: Sequence[Arrival]) -> Sequence[EventResult]:
        try:
            return await self._facts.apply(arrivals)
        except (Unavailable, Fenced):
            raise
        except Exception as fault:
            # Whatever it is that nobody thought of: one message must not hold up the others.
            if len(arrivals) == 1:
                log.exception("event_faulted", arrival_id=arrivals[0].arrival_id)
                return [await self._facts.keep(arrivals[0], fault)]
            return [(await self._results([arrival]))[0] for arrival in arrivals]


def _arrival(message: Msg) -> Arrival:
    return arrival_of(message.data, message.subject, delivery_of(message.reply), message.headers)


def _delay_seconds(message: Msg) -> float:
    """Longer with each delivery, so that many that wait don't keep a worker busy."""
    return min(2.0 ** delivery_of(message.reply).deliveries, LONGEST_DELAY_SECONDS)
