"""The end of a snapshot: what the source has left out was 0 there, and is told so line by line."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from atp_service.catalog import Catalog, Feed
from atp_service.facts.canonical_events import AHEAD_MS, milliseconds
from atp_service.facts.canonical_events import Snapshot as SnapshotEvent
from atp_service.facts.translation import line_id, our_location, our_sku
from atp_service.inventory.commands import Snapshot, SnapshotClosed
from atp_service.ledger import Ledger
from atp_service.ledger.read import snapshots
from atp_service.ledger.read.snapshots import Part

PAGE: Final = 1_000
_TYPE: Final = str(SnapshotEvent.__struct_config__.tag)


async def lines_left_out(
    closed: SnapshotClosed, catalog: Catalog, ledger: Ledger
) -> AsyncIterator[list[Snapshot]]:
    """Page by page a line of quantity 0 for each level that had stock then and was not mentioned.

    A line that could not be applied mentions its SKU all the same. Raises the ledger's Unavailable.
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


class _Goods(Struct):
    sku: str
    location: str


class _Line(Struct):
    """As much of a line as tells what it speaks of."""

    time: datetime
    data: _Goods


_decode_line = msgspec.json.Decoder(_Line).decode


async def _parked(part: Part, feed: Feed, catalog: Catalog, ledger: Ledger) -> set[str]:
    """Our SKUs that lines of this part speak of which could not be applied."""
    since_ms = part.taken_at_ms - AHEAD_MS  # nobody tells of what lies further ahead
    found = set()
    for payload in await snapshots.parked_of(ledger, feed.id, _TYPE, since_ms):
        try:
            line = _decode_line(payload)
        except msgspec.DecodeError:
            continue
        told = Part(our_location(line.data.location, feed), milliseconds(line.time))
        if told == part:
            found.add(our_sku(line.data.sku, feed, catalog))
    return found
