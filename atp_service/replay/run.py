"""A replay from the first row to the ledger."""

import time
from collections import Counter
from pathlib import Path

from nats.aio.client import Client

from atp_service.adapters.mapping.config import Mapping
from atp_service.adapters.mapping.csv_file import Rows
from atp_service.adapters.mapping.rows import RowError, RowReader, encode_event
from atp_service.jetstream.publisher import Publisher
from atp_service.jetstream.stream import ensure_stream
from atp_service.ledger import Ledger
from atp_service.ledger.read.snapshots import statuses_of
from atp_service.progress import View
from atp_service.replay.snapshot_parts import SnapshotParts
from atp_service.replay.summary import Summary
from atp_service.replay.wait_recorded import Pipeline, check_connected, retried
from atp_service.store import Store

LOOK_EVERY_ROWS = 2_000
FIRST_UNREADABLE = 10


async def replay(
    path: Path,
    mapping: Mapping,
    nats: Client,
    store: Store,
    ledger: Ledger,
    view: View,
    parts: SnapshotParts | None = None,
) -> Summary:
    """Publish a file's rows as events, wait until the ledger has them, and count their outcomes.

    A repeat is harmless, also after a break-off: an event counts once. `parts` collects the file's
    snapshots. Raises FileError, MappingError.
    """
    started = time.monotonic()
    parts = SnapshotParts() if parts is None else parts
    summary = Summary(file=path.name, feed=mapping.feed)
    with Rows(path, mapping.file) as rows:
        at = mapping.time.at
        file_id = rows.file_id if at is None else rows.id_at(at)
        reading = RowReader(mapping, rows.header, file_id)
        await retried(lambda: check_connected(nats), view)
        jetstream = nats.jetstream()
        await ensure_stream(jetstream)
        pipeline = Pipeline(jetstream, store, ledger, view)
        await pipeline.begin()
        async with Publisher(nats, mapping.subject, view.tell) as publisher:
            await _publish(rows, reading, publisher, summary, view, parts)
            await pipeline.until_recorded(publisher.last_seq)
            if mapping.final:
                ends = _SnapshotEnds(mapping.feed, file_id, parts, summary)
                await ends.publish(publisher)
                await pipeline.until_recorded(publisher.last_seq)
                await retried(lambda: ends.count_lines(ledger), view)
        before, rows_ids = pipeline.seqs_before, f"{file_id}:"
        outcomes = await retried(
            lambda: ledger.statuses_after(mapping.feed, rows_ids, before), view
        )
    summary.applied = outcomes.get("applied", 0)
    summary.absorbed = outcomes.get("absorbed", 0)
    summary.exceptions = outcomes.get("parked", 0)
    summary.duplicates = summary.published - sum(outcomes.values())
    summary.seconds = round(time.monotonic() - started, 2)
    summary.events_per_second = round(summary.published / max(summary.seconds, 0.01))
    return summary


async def _publish(
    rows: Rows,
    reading: RowReader,
    publisher: Publisher,
    summary: Summary,
    view: View,
    parts: SnapshotParts,
) -> None:
    events: Counter[str] = Counter()
    for number, row in rows:
        summary.rows = number
        if number % LOOK_EVERY_ROWS == 0:
            share = min(0.99, rows.bytes_read / rows.size)
            view.show("published", share, f"{publisher.published:,}")
        try:
            read = reading(number, row)
        except RowError:
            summary.unreadable += 1
            if len(summary.unreadable_rows) < FIRST_UNREADABLE:
                summary.unreadable_rows.append(number)
            continue
        if read is None:
            summary.ignored += 1
            continue
        kind, event = read
        events[kind] += 1
        if kind == "snapshot":
            parts.add(event)
        await publisher.publish(f"{summary.feed}:{event.id}", encode_event(event))
    await publisher.settle()
    summary.published = publisher.published
    summary.events = dict(events)
    view.show("published", 1.0, f"{publisher.published:,}")


class _SnapshotEnds:
    """The ends of a file's snapshots: published once the ledger has all their lines."""

    def __init__(self, feed: str, file_id: str, parts: SnapshotParts, summary: Summary) -> None:
        self._feed = feed
        self._prefix = f"{file_id}/"
        self._finals = parts.finals(feed, file_id)
        self._summary = summary
        summary.unclosed = dict.fromkeys(parts.of_several_times, "its rows are of several times")
        if summary.unreadable:
            # An unreadable row may mention a level that the end would set to 0.
            summary.unclosed |= dict.fromkeys(self._finals, "there are rows that can't be read")
            self._finals = {}

    async def publish(self, publisher: Publisher) -> None:
        for event in self._finals.values():
            await publisher.publish(f"{self._feed}:{event.id}", encode_event(event))
        await publisher.settle()

    async def count_lines(self, ledger: Ledger) -> None:
        """Add to the summary the closed locations, and how many levels were left out there."""
        ids = [event.id for event in self._finals.values()]
        statuses = await statuses_of(ledger, self._feed, ids)
        counts = await ledger.statuses_after(self._feed, self._prefix, {})
        for location, event in self._finals.items():
            if statuses.get(event.id) == "parked":
                self._summary.unclosed[location] = "its end became an exception"
            else:
                self._summary.closed.append(location)
        self._summary.left_out = sum(counts.values()) - len(statuses)
