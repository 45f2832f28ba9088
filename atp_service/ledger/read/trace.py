"""All the ledger has of an id: of a reservation, order, shipment, document or event.

From the id's own entries it goes on to the reservations and orders they are about, and to the
entries of those. It doesn't go on through shipments and documents: a truck carries many orders.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from atp_service.ledger.ledger import EXCEPTIONS, ExceptionRow, Ledger
from atp_service.ledger.read.entries import RecordedEntry, entries_at

MOST_ENTRIES: Final = 1_000

FoundAs = Literal["reservation", "order", "shipment", "document", "event"]


class Trace(Struct, frozen=True):
    """Entries in the order of time; only the first of them, if it is `truncated`."""

    found_as: list[FoundAs]
    reservations: list[str]
    orders: list[str]
    entries: list[RecordedEntry]
    exceptions: list[ExceptionRow]
    truncated: bool


_PLACES_OF_ID = """
(
    SELECT partition, seq
    FROM traces
    WHERE ref = %(id)s
    ORDER BY partition, seq
    LIMIT %(limit)s
)
UNION
(
    SELECT partition, seq
    FROM events
    WHERE event_id = %(id)s
    LIMIT %(limit)s
)
ORDER BY seq
LIMIT %(limit)s
"""
_PLACES_OF_NAMES = """
SELECT DISTINCT partition, seq
FROM traces
WHERE ref = ANY(%(names)s)
ORDER BY seq
LIMIT %(limit)s
"""

# An exception of stock is found by its reference, a parked message by its entry.
_EXCEPTIONS = f"""
{EXCEPTIONS}
WHERE id IN (
    SELECT id
    FROM exceptions
    WHERE reference = ANY(%(references)s)
      AND reference <> ''
  UNION
    SELECT exception_id
    FROM parked
    JOIN unnest(%(partitions)s::integer[], %(seqs)s::bigint[]) AS traced (partition, seq)
        USING (partition, seq)
)
ORDER BY id
LIMIT %(limit)s
"""  # noqa: S608  # a statement of ours


async def trace(ledger: Ledger, id_: str) -> Trace | None:
    """All entries and exceptions that are tied to the id; None if the ledger has none. Raises
    Unavailable."""
    places = await ledger.rows(_PLACES_OF_ID, {"id": id_, "limit": MOST_ENTRIES + 1})
    truncated = len(places) > MOST_ENTRIES
    own = newest = await entries_at(ledger, places[:MOST_ENTRIES])
    if not own:
        return None
    entries = {(entry.partition, entry.seq): entry for entry in own}
    asked = {id_}
    while len(entries) <= MOST_ENTRIES and (names := _named_by(newest) - asked):
        asked |= names
        places = await ledger.rows(
            _PLACES_OF_NAMES, {"names": sorted(names), "limit": MOST_ENTRIES + 1}
        )
        new = [place for place in places if place not in entries]
        truncated = truncated or len(places) > MOST_ENTRIES
        newest = await entries_at(ledger, new[:MOST_ENTRIES])
        entries |= {(entry.partition, entry.seq): entry for entry in newest}
    in_order = sorted(entries.values(), key=lambda e: (e.head.at_ms, e.partition, e.seq))
    first = in_order[:MOST_ENTRIES]
    reservations = _distinct(key for entry in first for key in entry.reservation_ids)
    orders = _distinct(key for entry in first for key in entry.order_ids)
    return Trace(
        _found_as(id_, own),
        reservations,
        orders,
        first,
        await _exceptions(ledger, [id_, *orders, *reservations], own),
        truncated or len(first) < len(in_order),
    )


def _named_by(entries: Iterable[RecordedEntry]) -> set[str]:
    """The reservations and orders that entries are about."""
    return {name for entry in entries for name in (*entry.reservation_ids, *entry.order_ids)}


def _found_as(id_: str, own: Sequence[RecordedEntry]) -> list[FoundAs]:
    """What the id is: one may be several things."""
    found: list[tuple[FoundAs, bool]] = [
        ("reservation", any(id_ in entry.reservation_ids for entry in own)),
        ("order", any(id_ in entry.order_ids for entry in own)),
        ("shipment", any(id_ == entry.fields.shipment_id for entry in own)),
        (
            "document",
            any(id_ in (entry.fields.document, entry.fields.erp_document) for entry in own),
        ),
        ("event", any(id_ == entry.fields.event_id for entry in own)),
    ]
    return [kind for kind, so in found if so]


async def _exceptions(
    ledger: Ledger, references: Collection[str], own: Iterable[RecordedEntry]
) -> list[ExceptionRow]:
    parked = [entry for entry in own if entry.head.kind == "park"]
    rows = await ledger.rows(
        _EXCEPTIONS.encode(),
        {
            "references": list(references),
            "partitions": [entry.partition for entry in parked],
            "seqs": [entry.seq for entry in parked],
            "limit": MOST_ENTRIES,
        },
    )
    return [ExceptionRow(*row) for row in rows]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
