"""A replay from the first row to the ledger."""

import time
from collections import Counter
from pathlib import Path

from nats.aio.client import Client

from atp_service.ingest import ensure_stream
from atp_service.ledger import Ledger
from atp_service.replay.arrival import Arrival, connected, patiently
from atp_service.replay.events import Reading, RowError, encode_event
from atp_service.replay.mapping import Mapping
from atp_service.replay.progress import View
from atp_service.replay.publish import Publisher
from atp_service.replay.rows import Rows
from atp_service.replay.summary import Summary
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
) -> Summary:
    """Publish a file's rows as events, wait until they are in the ledger, and say what they became.

    Safe to run again, also after it was broken off: an event counts once.
    Raises FileError, MappingError.
    """
    started = time.monotonic()
    summary = Summary(file=path.name, feed=mapping.feed)
    with Rows(path, mapping.file) as rows:
        reading = Reading(mapping, rows.header, rows.file_id)
        await patiently(lambda: connected(nats), view)
        jetstream = nats.jetstream()
        await ensure_stream(jetstream)
        arrival = Arrival(jetstream, store, ledger, view)
        await arrival.begin()
        async with Publisher(nats, mapping.subject, view.tell) as publisher:
            await _publish(rows, reading, mapping.feed, publisher, summary, view)
        await arrival.taken(publisher.last_seq)
        await arrival.recorded()
        became = await patiently(
            lambda: ledger.statuses_after(mapping.feed, f"{rows.file_id}:", arrival.seq_before),
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
    rows: Rows, reading: Reading, feed: str, publisher: Publisher, summary: Summary, view: View
) -> None:
    events: Counter[str] = Counter()
    for number, row in rows:
        summary.rows = number
        if number % LOOK_EVERY_ROWS == 0:
            view.show("published", min(0.99, rows.bytes_read / rows.size), publisher.published)
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
        await publisher.publish(f"{feed}:{event.id}", encode_event(event))
    await publisher.settle()
    summary.published = publisher.published
    summary.events = dict(events)
    view.show("published", 1.0, publisher.published)
