"""A replay from the first row to the ledger."""

import time
from collections import Counter
from pathlib import Path

from nats.aio.client import Client

from atp_service.adapters.mapping.config import Mapping
from atp_service.adapters.mapping.csv_file import Rows
from atp_service.adapters.mapping.rows import Reading, RowError, encode_event
from atp_service.jetstream.publisher import Publisher
from atp_service.jetstream.stream import ensure_stream
from atp_service.ledger import Ledger
from atp_service.ledger.read.snapshots import statuses_of
from atp_service.progress import View
from atp_service.replay.snapshot_parts import Parts
from atp_service.replay.summary import Summary
from atp_service.replay.wait_recorded import Arrival, connected, patiently
from atp_service.store import Store

LOOK_EVERY_ROWS = 2_000
FIRST_UNREADABLE = 10


async def replay(
    path: Path,
    mapping: Mapping,
    *,
    nats: Client,
    store: Store,
    ledger: Ledger,
    view: View,
    parts: Parts | None = None,
) -> Summary:
    """Publish a file's rows as events, wait until they are in the ledger, and say what they became.

    Safe to run again, also after it was broken off: an event counts once. `parts` learns which
    snapshots the file has lines of. Raises FileError, MappingError.
    """
    started = time.monotonic()
    parts = Parts() if parts is None else parts
    summary = Summary(file=path.name, feed=mapping.feed)
    with Rows(path, mapping.file) as rows:
        at = mapping.time.at
        file_id = rows.file_id if at is None else rows.id_at(at)
        reading = Reading(mapping, rows.header, file_id)
        await patiently(lambda: connected(nats), view)
        jetstream = nats.jetstream()
        await ensure_stream(jetstream)
        arrival = Arrival(jetstream, store, ledger, view)
        await arrival.begin()
        async with Publisher(nats, mapping.subject, view.tell) as publisher:
            await _publish(rows, reading, mapping.feed, publisher, summary, view, parts)
            await arrival.taken(publisher.last_seq)
            await arrival.recorded()
            if mapping.final:
                closing = _Closing(mapping.feed, file_id, parts, summary)
                await closing.publish(publisher)
                await arrival.taken(publisher.last_seq)
                await arrival.recorded()
                await patiently(lambda: closing.ask(ledger), view)
        became = await patiently(
            lambda: ledger.statuses_after(mapping.feed, f"{file_id}:", arrival.seqs_before),
            view,
        )
    summary.applied = became.get("applied", 0)
    summary.absorbed = became.get("absorbed", 0)
    summary.exceptions = became.get("parked", 0)
    summary.duplicates = summary.published - sum(became.values())
    summary.seconds = round(time.monotonic() - started, 2)
    summary.events_per_second = round(summary.published / max(summary.seconds, 0.01))
    return summary


async def _publish(
    rows: Rows,
    reading: Reading,
    feed: str,
    publisher: Publisher,
    summary: Summary,
    view: View,
    parts: Parts,
) -> None:
    events: Counter[str] = Counter()
    for number, row in rows:
        summary.rows = number
        if number % LOOK_EVERY_ROWS == 0:
            view.show(
                "published", min(0.99, rows.bytes_read / rows.size), f"{publisher.published:,}"
            )
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
        await publisher.publish(f"{feed}:{event.id}", encode_event(event))
    await publisher.settle()
    summary.published = publisher.published
    summary.events = dict(events)
    view.show("published", 1.0, f"{publisher.published:,}")


class _Closing:
    """The ends of a file's snapshots: published when the ledger has all their lines."""

    def __init__(self, feed: str, file_id: str, parts: Parts, summary: Summary) -> None:
        self._feed = feed
        self._prefix = f"{file_id}/"
        self._finals = parts.finals(feed, file_id)
        self._summary = summary
        summary.unclosed = dict.fromkeys(parts.of_several_times, "its rows are of several times")
        if summary.unreadable:
            # One of these rows may be the one that mentions what would be told to be 0.
            summary.unclosed |= dict.fromkeys(self._finals, "there are rows that can't be read")
            self._finals = {}

    async def publish(self, publisher: Publisher) -> None:
        for event in self._finals.values():
            await publisher.publish(f"{self._feed}:{event.id}", encode_event(event))
        await publisher.settle()

    async def ask(self, ledger: Ledger) -> None:
        """Which locations are closed, and how many lines that took."""
        ids = [event.id for event in self._finals.values()]
        became = await statuses_of(ledger, self._feed, ids)
        told = await ledger.statuses_after(self._feed, self._prefix, {})
        for location, event in self._finals.items():
            if became.get(event.id) == "parked":
                self._summary.unclosed[location] = "its end became an exception"
            else:
                self._summary.closed.append(location)
        self._summary.left_out = sum(told.values()) - len(became)
