"""A level as it was at a moment, and the entries behind each of its terms.

Entries' times never fall, so a moment is found among those of a level by halving: a handful of
looks at the index, however often the level has changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct, structs
from psycopg.rows import TupleRow

from atp_service.inventory.commands import RepairLevel
from atp_service.inventory.journal import LEVEL, image_of
from atp_service.inventory.stock import StockLevel, decode_level, level_field
from atp_service.ledger.ledger import Ledger
from atp_service.ledger.read.entries import EPOCH, RecordedEntry, entries_at, milliseconds

# Changes to look back through for what a term was; before them only on_hand is looked for.
REACH: Final = 1_000
# A fact's own time may be so much later than its entry's (facts allows for clocks that differ).
_AHEAD: Final = timedelta(minutes=5)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_LAST_SEQ: Final = 2**63 - 1


class Span(Struct, frozen=True):
    """From the ledger's first entry to its last; Unix milliseconds."""

    first_ms: int
    last_ms: int


class Moment(Struct, frozen=True):
    """A moment in a level's past: Unix milliseconds, and the level's latest entry until then."""

    at_ms: int
    seq: int


class Change(Struct, frozen=True):
    """A term of a level changed by `units` to `after` in the entry.

    A repair changes it from a damaged number, `found`, that no entry explains; None if there was
    nothing, or nothing readable.
    """

    units: int
    after: int
    version: int
    entry: RecordedEntry
    found: int | None = None


SPAN = """
SELECT first.at, last.at
FROM positions
JOIN LATERAL (
    SELECT at
    FROM entries
    WHERE entries.partition = positions.partition
    ORDER BY seq
    LIMIT 1
) AS first ON true
JOIN LATERAL (
    SELECT at
    FROM entries
    WHERE entries.partition = positions.partition
    ORDER BY seq DESC
    LIMIT 1
) AS last ON true
WHERE positions.partition = %(partition)s
"""

# What has a seq up to `low` was entered by then, what has one from `high` on was not.
IMAGES_AT = """
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, max(seq) + 1
    FROM movements
    WHERE sku = %(sku)s AND location = %(location)s
  UNION ALL
    SELECT
        CASE WHEN probe.at >= %(before)s THEN low ELSE (low + high) / 2 END,
        CASE WHEN probe.at >= %(before)s THEN probe.seq ELSE high END
    FROM search
    LEFT JOIN LATERAL (
        SELECT seq, at
        FROM movements
        WHERE sku = %(sku)s AND location = %(location)s AND seq <= (low + high) / 2
        ORDER BY seq DESC
        LIMIT 1
    ) AS probe ON true
    WHERE high - low > 1
), found AS (
    SELECT partition, seq
    FROM movements
    WHERE sku = %(sku)s
      AND location = %(location)s
      AND seq <= (SELECT max(low) FROM search)
    ORDER BY seq DESC
    LIMIT 1
)
SELECT seq, images
FROM found
JOIN entries USING (partition, seq)
"""

# Each change beside the one before it: so one more is read than is looked at. A level's own
# safety stock may be none: then what the channel withholds is what the change is from or to. A
# repair may take a number back to what the entry before has left: its command says from where.
CHANGES = """
WITH steps AS (
    SELECT
        partition, seq, version, kind = 'repair_level' AS repairs,
        on_hand_delta, on_hand, reserved, allocated, unavailable,
        lag(seq) OVER by_seq AS seq_before,
        on_hand - lag(on_hand, 1, 0::bigint) OVER by_seq AS on_hand_step,
        reserved - lag(reserved, 1, 0::bigint) OVER by_seq AS reserved_delta,
        allocated - lag(allocated, 1, 0::bigint) OVER by_seq AS allocated_delta,
        unavailable - lag(unavailable, 1, 0::bigint) OVER by_seq AS unavailable_delta,
        coalesce(safety_stock, %(of_channel)s) AS safety_stock,
        coalesce(safety_stock, %(of_channel)s)
            - coalesce(lag(safety_stock) OVER by_seq, %(of_channel)s) AS safety_stock_delta
    FROM (
        SELECT *
        FROM movements
        WHERE sku = %(sku)s
          AND location = %(location)s
          AND seq <= %(seq)s
        ORDER BY seq DESC
        LIMIT %(reach)s + 1
    ) AS latest
    WINDOW by_seq AS (ORDER BY seq)
), ranked AS (
    SELECT
        term, units, after, version, partition, seq,
        row_number() OVER (PARTITION BY term, repairs ORDER BY seq DESC) AS place
    FROM steps
    CROSS JOIN LATERAL (
        VALUES
            (
                'on_hand',
                CASE on_hand_delta WHEN 0 THEN on_hand_step ELSE on_hand_delta END,
                on_hand
            ),
            ('unavailable', unavailable_delta, unavailable),
            ('reserved', reserved_delta, reserved),
            ('allocated', allocated_delta, allocated),
            ('safety_stock', safety_stock_delta, safety_stock)
    ) AS change (term, units, after)
    WHERE (units <> 0 OR repairs)
      AND (seq_before IS NOT NULL OR version = 1)
      AND version <= %(version)s
)
SELECT term, units, after, version, partition, seq
FROM ranked
WHERE place <= %(limit)s
ORDER BY seq DESC
"""

# Holds don't move on_hand, and a level may see thousands of them between two deliveries.
EARLIER_MOVES = """
SELECT 'on_hand', on_hand_delta, on_hand, version, partition, seq
FROM movements
WHERE sku = %(sku)s
  AND location = %(location)s
  AND on_hand_delta <> 0
  AND occurred_at <= %(until)s
  AND seq <= %(seq)s
  AND version <= %(version)s - %(reach)s
ORDER BY occurred_at DESC
LIMIT %(limit)s
"""


async def span(ledger: Ledger, partition: int) -> Span | None:
    """The time from the partition's first entry to its last; None before its first entry."""
    rows = await ledger.rows(SPAN, {"partition": partition})
    return Span(*map(milliseconds, rows[0])) if rows else None


async def level_at(
    ledger: Ledger, sku: str, location: str, at_ms: int
) -> tuple[StockLevel, int] | None:
    """The level at the end of that millisecond, and the seq of the entry that left it so; None if
    there was none yet."""
    rows = await ledger.rows(IMAGES_AT, {"sku": sku, "location": location, "before": _after(at_ms)})
    if not rows:
        return None
    ((seq, images),) = rows
    image = image_of(images, LEVEL + level_field(sku, location))
    return None if image is None else (decode_level(image), seq)


async def changes(
    ledger: Ledger,
    sku: str,
    location: str,
    version: int,
    *,
    of_channel: int,
    limit: int,
    moment: Moment | None = None,
) -> dict[str, list[Change]]:
    """By term, the latest entries that changed it up to `version`; the latest first.

    `of_channel` is how many units the channel withholds if the level has no safety stock of its
    own. `moment` is when `version` was the latest, None for now.
    """
    asked = {
        "sku": sku,
        "location": location,
        "version": version,
        "seq": _LAST_SEQ if moment is None else moment.seq,
        "of_channel": of_channel,
        "reach": REACH,
        "until": _END_OF_TIME if moment is None else _after(moment.at_ms) + _AHEAD,
    }
    rows = await ledger.rows(CHANGES, asked | {"limit": limit})
    found = await _with_entries(ledger, rows, of_channel, limit)
    missing = limit - len(found.get("on_hand", ()))
    if missing and version > REACH:
        rows = await ledger.rows(EARLIER_MOVES, asked | {"limit": missing})
        rows.sort(key=lambda row: -row[3])
        for term, earlier in (await _with_entries(ledger, rows, of_channel, missing)).items():
            found[term] += earlier
    return found


async def _with_entries(
    ledger: Ledger, rows: Sequence[TupleRow], of_channel: int, limit: int
) -> defaultdict[str, list[Change]]:
    """The rows with their entries, at most `limit` of each term."""
    entries = {(e.partition, e.seq): e for e in await entries_at(ledger, {row[4:] for row in rows})}
    found: defaultdict[str, list[Change]] = defaultdict(list)
    for term, units, after, version, *place in rows:
        entry = entries[tuple(place)]
        change = Change(units, after, version, entry)
        if isinstance(entry.command, RepairLevel):
            change = _repaired(change, term, entry.command, of_channel)
        if change.units and len(found[term]) < limit:
            found[term].append(change)
    return found


def _repaired(change: Change, term: str, repair: RepairLevel, of_channel: int) -> Change:
    """What a repair did to a term: what was wrong with it, whatever the entry before has left."""
    was = _term(repair.found or StockLevel(), term, of_channel)
    units = _term(repair.right or StockLevel(), term, of_channel) - was
    found = None if repair.found is None else change.after - units
    return structs.replace(change, units=units, found=found)


def _term(level: StockLevel, term: str, of_channel: int) -> int:
    units: int = level.safety_stock(of_channel) if term == "safety_stock" else getattr(level, term)
    return units


async def stocked(ledger: Ledger, sku: str, location: str) -> tuple[bool, bool]:
    """Whether the SKU has a level anywhere, and whether it has one at the location."""
    rows: list[tuple[bool, bool]] = await ledger.rows(
        """
        SELECT
            EXISTS (SELECT FROM levels WHERE sku = %(sku)s),
            EXISTS (SELECT FROM levels WHERE sku = %(sku)s AND location = %(location)s)
        """,
        {"sku": sku, "location": location},
    )
    return rows[0]


def _after(at_ms: int) -> datetime:
    """The first moment that is later than the millisecond."""
    return EPOCH + timedelta(milliseconds=at_ms + 1)
