"""Snapshots: what sources believed, compared line by line, and what they left out.

A snapshot is known by its source and its parts: a location and the moment it was taken there.
Every function may raise `Unavailable`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from atp_service.identifiers import SnapshotPolicy
from atp_service.ledger.ledger import Ledger

PATIENCE_SECONDS = 60.0  # a location may have 100,000 levels


class Part(NamedTuple):
    """One location of a snapshot, and when it was taken there."""

    location: str
    taken_at_ms: int


class Comparison(Struct, frozen=True):
    """How a snapshot compared: lines, by what became of them. A level may have had several.

    `outdated` are those of levels that were counted later: nothing was compared. `units_up` and
    `units_down` add up what differed: theirs more than ours, and less.
    """

    lines: int
    levels: int
    outdated: int
    within: int
    corrected: int
    for_review: int
    reported: int
    units_up: int
    units_down: int


class DifferingLine(Struct, frozen=True):
    """A line beyond what was tolerated; `difference` is theirs less ours, as of that moment."""

    seq: int
    sku: str
    location: str
    believed: int
    difference: int
    policy: SnapshotPolicy


async def compared(ledger: Ledger, source: str, parts: Sequence[Part]) -> Comparison:
    """The snapshot in numbers."""
    rows = await ledger.rows(
        """
        SELECT
            count(*),
            count(DISTINCT (location, sku)),
            count(*) FILTER (WHERE policy = 'outdated'),
            count(*) FILTER (WHERE policy = 'within'),
            count(*) FILTER (WHERE policy = 'correct'),
            count(*) FILTER (WHERE policy = 'review'),
            count(*) FILTER (WHERE policy = 'report'),
            coalesce(sum(difference) FILTER (
                WHERE policy <> 'within' AND difference > 0
            ), 0)::bigint,
            coalesce(-sum(difference) FILTER (
                WHERE policy <> 'within' AND difference < 0
            ), 0)::bigint
        FROM snapshot_lines
        JOIN unnest(%(locations)s::text[], %(moments)s::bigint[]) AS part (location, at_ms)
            USING (location)
        WHERE source = %(source)s
          AND taken_at = to_timestamp(part.at_ms / 1000.0)
        """,
        {"source": source, **_columns(parts)},
        seconds=PATIENCE_SECONDS,
    )
    return Comparison(*rows[0])


async def differing(
    ledger: Ledger, source: str, parts: Sequence[Part], *, limit: int, offset: int = 0
) -> list[DifferingLine]:
    """The lines that differ by more than was tolerated, the largest difference first."""
    rows = await ledger.rows(
        """
        SELECT seq, sku, location, believed, difference, policy
        FROM snapshot_lines
        JOIN unnest(%(locations)s::text[], %(moments)s::bigint[]) AS part (location, at_ms)
            USING (location)
        WHERE source = %(source)s
          AND taken_at = to_timestamp(part.at_ms / 1000.0)
          AND policy IN ('correct', 'review', 'report')
        ORDER BY abs(difference) DESC, location, sku, seq
        LIMIT %(limit)s
        OFFSET %(offset)s
        """,
        {"source": source, "limit": limit, "offset": offset, **_columns(parts)},
        seconds=PATIENCE_SECONDS,
    )
    return [DifferingLine(*row) for row in rows]


async def left_out(ledger: Ledger, source: str, part: Part, *, after: str, limit: int) -> list[str]:
    """SKUs that had stock at the location as of then and no line: those after the SKU `after`.

    As in `deltas_after`, nothing happened later than it was entered.
    """
    rows = await ledger.rows(
        """
        SELECT levels.sku
        FROM levels
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(on_hand_delta), 0) AS units
            FROM movements
            WHERE movements.sku = levels.sku
              AND movements.location = levels.location
              AND occurred_at > to_timestamp(%(at_ms)s / 1000.0)
              AND movements.at > to_timestamp(%(at_ms)s / 1000.0)
              AND on_hand_delta <> 0
        ) AS later
        WHERE levels.location = %(location)s
          AND levels.sku > %(after)s
          AND levels.on_hand <> later.units
          AND NOT EXISTS (
              SELECT
              FROM snapshot_lines
              WHERE source = %(source)s
                AND snapshot_lines.location = levels.location
                AND taken_at = to_timestamp(%(at_ms)s / 1000.0)
                AND snapshot_lines.sku = levels.sku
          )
        ORDER BY levels.sku
        LIMIT %(limit)s
        """,
        {
            "source": source,
            "location": part.location,
            "at_ms": part.taken_at_ms,
            "after": after,
            "limit": limit,
        },
        seconds=PATIENCE_SECONDS,
    )
    return [sku for (sku,) in rows]


async def statuses_of(ledger: Ledger, source: str, ids: Sequence[str]) -> dict[str, str]:
    """The status of the source's events with these ids; those the ledger has."""
    rows = await ledger.rows(
        """
        SELECT event_id, status
        FROM events
        WHERE source = %(source)s AND event_id = ANY(%(ids)s)
        """,
        {"source": source, "ids": list(ids)},
    )
    return dict(rows)


async def parked_of(ledger: Ledger, source: str, event_type: str, since_ms: int) -> list[bytes]:
    """Messages of the type that the source sent since then, and that could not be applied."""
    rows = await ledger.rows(
        """
        SELECT payload
        FROM parked
        WHERE source = %(source)s
          AND at >= to_timestamp(%(since_ms)s / 1000.0)
          AND position(convert_to(%(event_type)s, 'UTF8') IN payload) > 0
        """,
        {"source": source, "event_type": event_type, "since_ms": since_ms},
        seconds=PATIENCE_SECONDS,
    )
    return [payload for (payload,) in rows]


def _columns(parts: Sequence[Part]) -> dict[str, list[Any]]:
    return {
        "locations": [part.location for part in parts],
        "moments": [part.taken_at_ms for part in parts],
    }
