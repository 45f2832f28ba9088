"""Waits until published events are in the stock and in the ledger.

No wait gives up: a worker may die and come back, Postgres may be away. If nothing moves for a
while a line says what is missing, once for each standstill.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from atp_service import postgres, store
from atp_service.jetstream.stream import CONSUMER, STREAM
from atp_service.ledger import Ledger
from atp_service.progress import View
from atp_service.store import Store

LOOK_EVERY_SECONDS = 0.25
STANDSTILL_SECONDS = 10.0

NO_INGEST = "no worker is consuming: start one with `atp worker`"
INGEST_STUCK = "ingest makes no progress: is a worker running, and are Redis and Postgres up?"
NO_RECORD = "the ledger does not grow: is a worker recording?"

AWAY = (NatsError, TimeoutError, store.Unavailable, store.Fenced, postgres.Unavailable)

Answer = TypeVar("Answer")


async def check_connected(nats: Client) -> None:
    """Raise an error that `retried` waits out if NATS is away."""
    if not nats.is_connected:
        raise NatsError("NATS is away")


class Pipeline:
    """How far ingest and the ledger are; `seqs_before` is the ledger's at `begin`, by partition."""

    def __init__(self, jetstream: JetStreamContext, store: Store, book: Ledger, view: View) -> None:
        self._jetstream = jetstream
        self._store = store
        self._ledger = book
        self._view = view
        self._floor_before = 0
        self.seqs_before: dict[int, int] = {}

    async def begin(self) -> None:
        """Remember how far both are: shares and counts are relative to it."""
        self._floor_before, _ = await retried(self._floor, self._view)
        self.seqs_before = await retried(self._positions, self._view)

    async def until_recorded(self, last_seq: int) -> None:
        """Return once ingest has acknowledged the stream up to `last_seq`, and the ledger has every
        entry that the journal has by then."""
        await _until("taken by ingest", self._floor_before, last_seq, self._floor, self._view)
        entries = await retried(self._store.last_entries, self._view)
        before = sum(self.seqs_before.values())

        async def recorded() -> tuple[int, str]:
            """How many entries the ledger has, of those that the journal had."""
            seqs = await self._positions()
            return sum(min(seqs[e.partition], e.seq) for e in entries), NO_RECORD

        target = sum(entry.seq for entry in entries)
        await _until("in the ledger", before, target, recorded, self._view)

    async def _floor(self) -> tuple[int, str]:
        """The seq up to which ingest is done with the stream; and a reason if it does not move."""
        try:
            consumer = await self._jetstream.consumer_info(STREAM, CONSUMER)
        except NotFoundError:  # no worker has ever consumed here
            return 0, NO_INGEST
        # Events of a dead worker count as pending until another worker gets them.
        active = consumer.num_waiting or consumer.num_ack_pending
        return (
            consumer.ack_floor.stream_seq if consumer.ack_floor else 0,
            INGEST_STUCK if active else NO_INGEST,
        )

    async def _positions(self) -> dict[int, int]:
        """The last recorded seq of each partition."""
        seqs = {}
        for partition in self._store.partitions:
            position = await self._ledger.position(partition.number)
            seqs[partition.number] = position.seq if position else 0
        return seqs


async def retried(
    ask: Callable[[], Awaitable[Answer]], view: View, standstill: "_Standstill | None" = None
) -> Answer:
    """The answer of `ask`, retried as long as a server is away."""
    standstill = standstill or _Standstill(view)
    while True:
        try:
            return await ask()
        except AWAY as error:
            standstill.saw(None, str(error) or type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _until(
    stage: str, before: int, target: int, look: Callable[[], Awaitable[tuple[int, str]]], view: View
) -> None:
    """Return once the number that `look` returns has reached the target. The text beside it is the
    reason to print if the number does not move."""
    standstill = _Standstill(view)
    while True:
        at, missing = await retried(look, view, standstill)
        share = 1.0 if at >= target else (at - before) / (target - before)
        view.show(stage, share, f"{at - before:,}")
        if at >= target:
            return
        standstill.saw(at, missing)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


class _Standstill:
    """Prints a reason, once, if a number has not changed for a while."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._seen: int | None = None
        self._since = time.monotonic()
        self._printed = False

    def saw(self, seen: int | None, missing: str) -> None:
        if seen != self._seen:
            self._seen, self._since, self._printed = seen, time.monotonic(), False
        elif not self._printed and time.monotonic() - self._since >= STANDSTILL_SECONDS:
            self._view.tell(f"{missing} (still waiting; Ctrl-C does no harm)")
            self._printed = True
