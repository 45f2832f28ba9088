"""Waiting until what was published is in the stock and in the ledger.

Nothing here gives up: a worker may die and come back, Postgres may be away. When nothing has moved
for a while a line says what is missing, once for each standstill.
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

NOBODY_CONSUMES = "no worker is consuming: start one with `atp worker`"
INGEST_STANDS = "ingest does not get on: is a worker running, and are Redis and Postgres up?"
NOBODY_RECORDS = "the ledger does not grow: is a worker recording?"

AWAY = (NatsError, TimeoutError, store.Unavailable, store.Fenced, postgres.Unavailable)

Answer = TypeVar("Answer")


async def connected(nats: Client) -> None:
    """Return if NATS is there; else raise what `patiently` waits for."""
    if not nats.is_connected:
        raise NatsError("NATS is away")


class Arrival:
    """How far ingest and the ledger are, and how far they were when this was made: `begin`."""

    def __init__(self, jetstream: JetStreamContext, store: Store, book: Ledger, view: View) -> None:
        self._jetstream = jetstream
        self._store = store
        self._ledger = book
        self._view = view
        self._floor_before = 0
        self.seqs_before: dict[int, int] = {}

    async def begin(self) -> None:
        """Remember where things stand, for the shares to be shown and the events to be counted."""
        self._floor_before, _ = await patiently(self._floor, self._view)
        self.seqs_before = await patiently(self._positions, self._view)

    async def taken(self, last_seq: int) -> None:
        """Return when ingest has acknowledged the stream up to `last_seq`."""
        await _until("taken by ingest", self._floor_before, last_seq, self._floor, self._view)

    async def recorded(self) -> None:
        """Return when the ledger has every entry that the journal has now."""
        entries = await patiently(self._store.last_entries, self._view)
        before = sum(self.seqs_before.values())

        async def recorded() -> tuple[int, str]:
            """How many entries the ledger has, of those that the journal had."""
            seqs = await self._positions()
            return sum(min(seqs[e.partition], e.seq) for e in entries), NOBODY_RECORDS

        target = sum(entry.seq for entry in entries)
        await _until("in the ledger", before, target, recorded, self._view)

    async def _floor(self) -> tuple[int, str]:
        """All of the stream up to here is done with; and why it might not move on."""
        try:
            consumer = await self._jetstream.consumer_info(STREAM, CONSUMER)
        except NotFoundError:  # no worker has ever consumed here
            return 0, NOBODY_CONSUMES
        # What a dead worker had fetched counts as being worked on until it is given to another.
        somebody = consumer.num_waiting or consumer.num_ack_pending
        return (
            consumer.ack_floor.stream_seq if consumer.ack_floor else 0,
            INGEST_STANDS if somebody else NOBODY_CONSUMES,
        )

    async def _positions(self) -> dict[int, int]:
        """The last recorded seq of each partition."""
        seqs = {}
        for partition in self._store.partitions:
            position = await self._ledger.position(partition.number)
            seqs[partition.number] = position.seq if position else 0
        return seqs


async def patiently(ask: Callable[[], Awaitable[Answer]], view: View) -> Answer:
    """The answer, however long it takes for somebody to be there to give it."""
    standstill = _Standstill(view)
    while True:
        try:
            return await ask()
        except AWAY as error:
            standstill.saw(None, _spoken(error))
            await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _until(
    stage: str,
    before: int,
    target: int,
    look: Callable[[], Awaitable[tuple[int, str]]],
    view: View,
) -> None:
    """Return when the number looked at has reached the target. With the number comes what would
    be missing if it did not move."""
    standstill = _Standstill(view)
    while True:
        try:
            at, missing = await look()
        except AWAY as error:
            standstill.saw(None, _spoken(error))
        else:
            share = 1.0 if at >= target else (at - before) / (target - before)
            view.show(stage, share, f"{at - before:,}")
            if at >= target:
                return
            standstill.saw(at, missing)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


class _Standstill:
    """Says what is missing, once, when what is seen has not changed for a while."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._seen: int | None = None
        self._since = time.monotonic()
        self._told = False

    def saw(self, seen: int | None, missing: str) -> None:
        if seen != self._seen:
            self._seen, self._since, self._told = seen, time.monotonic(), False
        elif not self._told and time.monotonic() - self._since >= STANDSTILL_SECONDS:
            self._view.tell(f"{missing} (still waiting; Ctrl-C does no harm)")
            self._told = True


def _spoken(error: Exception) -> str:
    return str(error) or type(error).__name__
