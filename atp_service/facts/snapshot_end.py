"""The end of a snapshot: each level that the source left out gets a line of 0.

The end must not overtake a line: a level that has not been compared yet would look as if the source
had left it out (docs/decisions/0028).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from atp_service.catalog import Catalog, Feed
from atp_service.facts.canonical_events import AHEAD_MS, milliseconds
from atp_service.facts.canonical_events import Snapshot as SnapshotEvent
from atp_service.facts.change import Changes
from atp_service.facts.translation import line_id, our_location, our_sku
from atp_service.facts.work import Ready, Work
from atp_service.inventory.commands import Snapshot, SnapshotClosed
from atp_service.ledger import Ledger
from atp_service.ledger.read import snapshots
from atp_service.ledger.read.snapshots import Part
from atp_service.postgres import Unavailable
from atp_service.store import Store

LINES_WAITING: Final = "lines-waiting"
PAGE: Final = 1_000  # levels
MOST_PAGES: Final = 10  # at once: seconds, so that JetStream does not take the message for lost
RECORDING_SECONDS: Final = 2.5  # how long an end waits for the ledger, and for open lines
PAUSE_SECONDS: Final = 0.05
_TYPE: Final = str(SnapshotEvent.__struct_config__.tag)


def snapshot_of(event: SnapshotEvent) -> tuple[str, int]:
    """The snapshot of a line or an end: its feed, and the moment in ms."""
    return event.source, event.occurred_at_ms


@dataclass(slots=True, eq=False)
class SnapshotEnds:
    """Applies the ends of snapshots in one call."""

    changes: Changes
    store: Store
    ledger: Ledger
    catalog: Catalog

    async def apply(self, end: Work, call: Iterable[Work]) -> None:
        """Apply lines of 0 for the levels that the source left out, then the end itself.

        In this order a crash in between does no harm: a retry brings all of it, and a line that
        was applied is known by its id, or its level is no longer left out. `call`: the works of
        the same call, lines among them. Raises the store's Unavailable or Fenced.
        """
        closed, line = _end_of(end)
        snapshot = closed.source, closed.occurred_at_ms
        if not end.arrival.in_order or any(_delays(work, snapshot) for work in call):
            end.end("waiting", LINES_WAITING)
            return
        if line is not None and not await self._apply_lines(end, [line]):
            return
        try:
            if not await self._has_all_lines(end, closed):
                return
            if not await self._apply_left_out(end, closed):
                return
        except Unavailable:
            end.end("waiting", "ledger-away")
            return
        await self.changes.apply([end])

    async def _has_all_lines(self, end: Work, closed: SnapshotClosed) -> bool:
        """Whether the ledger has all lines of the snapshot. Else the end has its result."""
        snapshot = closed.source, closed.occurred_at_ms
        deadline = time.monotonic() + RECORDING_SECONDS
        while True:
            # First the open lines: those that are closed by now have a lower seq.
            open_lines = await self.store.open_lines_of(closed.source).of(snapshot)
            lines = [(closed.source, line) for line in open_lines]
            for entry in await self.store.last_entries():
                await self.ledger.wait_for(entry, RECORDING_SECONDS)
            this = closed.source, closed.event_id
            recorded = await self.ledger.seen_events([this, *lines])
            if this in recorded:
                end.end("duplicate")
                return False
            if recorded.issuperset(lines):
                return True
            if time.monotonic() > deadline:
                end.end("waiting", LINES_WAITING)
                return False
            await asyncio.sleep(PAUSE_SECONDS)

    async def _apply_left_out(self, end: Work, closed: SnapshotClosed) -> bool:
        """Whether all levels that the source left out have 0 now. Else the end has its result."""
        pages = 0
        async for lines in lines_left_out(closed, self.catalog, self.ledger):
            if pages == MOST_PAGES:
                end.end("waiting", "closing")
                return False
            if not await self._apply_lines(end, lines):
                return False
            pages += 1
        return True

    async def _apply_lines(self, end: Work, lines: Sequence[Snapshot]) -> bool:
        """Whether lines that the end brings with it are applied. Else the end has its result."""
        works = [Work(end.arrival, end.event, Ready(line)) for line in lines]
        await self.changes.apply(works)
        waiting = next((work for work in works if work.is_waiting), None)
        if waiting is not None:
            end.end("waiting", waiting.result.reason)
        return waiting is None


def _end_of(work: Work) -> tuple[SnapshotClosed, Snapshot | None]:
    state = work.state
    assert isinstance(state, Ready)  # noqa: S101 – sorted by kind
    assert isinstance(state.command, SnapshotClosed)  # noqa: S101
    return state.command, state.line


def _delays(work: Work, snapshot: tuple[str, int]) -> bool:
    """Whether the work is a line of the snapshot that has to wait."""
    event = work.event
    return (
        work.is_waiting
        and isinstance(event, SnapshotEvent)
        and not event.data.final
        and snapshot_of(event) == snapshot
    )


async def lines_left_out(
    closed: SnapshotClosed, catalog: Catalog, ledger: Ledger
) -> AsyncIterator[list[Snapshot]]:
    """A line of 0 for each level that had stock then and has no line, page by page.

    A line that was parked counts as one for its SKU. Raises the ledger's Unavailable.
    """
    feed = catalog.feeds.get(closed.source) or Feed(id=closed.source)
    part = Part(closed.location, closed.occurred_at_ms)
    parked: set[str] | None = None
    after = ""
    while skus := await snapshots.left_out(ledger, feed.id, part, after=after, limit=PAGE):
        after = skus[-1]
        if parked is None:
            parked = await _parked(part, feed, catalog, ledger)
        yield [
            Snapshot(
                source=closed.source,
                event_id=line_id(closed, sku),
                occurred_at_ms=closed.occurred_at_ms,
                traceparent=closed.traceparent,
                sku=sku,
                location=closed.location,
                quantity=0,
                policy=feed.snapshot,
                tolerance=feed.snapshot_tolerance,
            )
            for sku in skus
            if sku not in parked
        ]


class _Level(Struct):
    sku: str
    location: str


class _Line(Struct):
    """The level and the moment of a line."""

    time: datetime
    data: _Level


_decode_line = msgspec.json.Decoder(_Line).decode


async def _parked(part: Part, feed: Feed, catalog: Catalog, ledger: Ledger) -> set[str]:
    """The SKUs of lines of this part that were parked."""
    since_ms = part.taken_at_ms - AHEAD_MS  # an event that lies further ahead is parked
    found = set()
    for payload in await snapshots.parked_of(ledger, feed.id, _TYPE, since_ms):
        try:
            line = _decode_line(payload)
        except msgspec.DecodeError:
            continue
        location = our_location(line.data.location, feed)
        if part == Part(location, milliseconds(line.time)):
            found.add(our_sku(line.data.sku, feed, catalog))
    return found
