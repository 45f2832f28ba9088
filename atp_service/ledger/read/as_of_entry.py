"""What a partition of Redis must have by the ledger: a page at a time, or as of an entry.

Every image in Redis is an entry's image, byte for byte. So an image read when entry S was the
latest one must be the ledger's as of S: the projection's, if that is no younger, else that of the
last entry with a seq up to S that touched it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from atp_service.inventory.journal import (
    LEVEL,
    ORDER,
    RESERVATION,
    Image,
    decode_images,
    image_of,
)
from atp_service.inventory.stock import SEPARATOR, level_field
from atp_service.ledger.ledger import Ledger

PAGE_SECONDS = 30.0  # for one page: the machine may be busy with selling

Pair = tuple[str, str]  # SKU, location

_BETWEEN = "\x1e"  # names in a text; no id may contain it
_AT_ONCE = 50  # entries looked through at once for one that touched something


class Kept(Struct, frozen=True):
    """What a reservation's row says of how long Redis keeps it."""

    closed_at_ms: int | None
    status: str
    order_id: str
    expires_at_ms: int | None


class EarlyOrder(Struct, frozen=True):
    """An order's image, and when its entry was written."""

    at_ms: int
    image: bytes


async def levels_after(
    ledger: Ledger,
    partition: int,
    after: Pair,
    limit: int,
    skus: Sequence[str],
    locations: Sequence[str],
) -> list[tuple[str, str, bytes]]:
    """The next levels in the order of their names, with their images."""
    conditions = []
    if skus:
        conditions.append("AND sku = ANY(%(skus)s)")
    if locations:
        conditions.append("AND location = ANY(%(locations)s)")
    statement = f"""
        SELECT sku, location, document
        FROM levels
        WHERE partition = %(partition)s
          AND (sku, location) > (%(sku)s, %(location)s) {" ".join(conditions)}
        ORDER BY sku, location
        LIMIT %(limit)s
        """  # noqa: S608  # conditions of ours
    return await _rows(
        ledger,
        partition,
        statement,
        {
            "sku": after[0],
            "location": after[1],
            "limit": limit,
            "skus": list(skus),
            "locations": list(locations),
        },
    )


async def levels_as_of(
    ledger: Ledger, partition: int, pairs: Sequence[Pair], seq: int
) -> list[Image]:
    """Each level's image when `seq` was the latest entry; None where it was not there yet."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT asked.place, asked.sku, asked.location,
            CASE WHEN levels.seq <= %(seq)s THEN levels.document END,
            entries.images
        FROM unnest(%(skus)s::text[], %(locations)s::text[])
            WITH ORDINALITY AS asked (sku, location, place)
        LEFT JOIN levels
          ON levels.partition = %(partition)s
         AND (levels.sku, levels.location) = (asked.sku, asked.location)
        LEFT JOIN LATERAL (
            SELECT movements.partition, movements.seq
            FROM movements
            WHERE movements.partition = %(partition)s
              AND movements.sku = asked.sku
              AND movements.location = asked.location
              AND movements.seq <= %(seq)s
              AND levels.seq > %(seq)s
            ORDER BY movements.seq DESC
            LIMIT 1
        ) AS last ON true
        LEFT JOIN entries ON (entries.partition, entries.seq) = (last.partition, last.seq)
        ORDER BY asked.place
        """,
        {"skus": [p[0] for p in pairs], "locations": [p[1] for p in pairs], "seq": seq},
    )
    return [
        document if images is None else image_of(images, LEVEL + level_field(sku, location))
        for _, sku, location, document, images in rows
    ]


async def unknown_in_stock(ledger: Ledger, partition: int, names: Sequence[str]) -> list[str]:
    """Those of the names, SKUs or SKU and location, that the ledger has no level of.

    They go as one text: that is a tenth of what a list costs us.
    """
    odd = [name for name in names if _BETWEEN in name or "\0" in name]
    asked = [name for name in names if name not in odd] if odd else names
    if not asked:
        return odd
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT name
        FROM unnest(string_to_array(%(names)s, %(between)s)) AS asked (name)
        CROSS JOIN LATERAL strpos(name, %(separator)s) AS at
        WHERE CASE
            WHEN at = 0 THEN NOT EXISTS (
                SELECT FROM levels WHERE sku = name AND partition = %(partition)s
            )
            ELSE NOT EXISTS (
                SELECT
                FROM levels
                WHERE sku = left(name, at - 1)
                  AND location = substr(name, at + 1)
                  AND partition = %(partition)s
            )
        END
        """,
        {"names": _BETWEEN.join(asked), "between": _BETWEEN, "separator": SEPARATOR},
    )
    return odd + [row[0] for row in rows]


async def open_reservations_after(
    ledger: Ledger, partition: int, after: str, limit: int
) -> list[tuple[str, str, bytes]]:
    """The next open reservations by id, with their orders and images."""
    return await _rows(
        ledger,
        partition,
        """
        SELECT reservation_id, order_id, document
        FROM reservations
        WHERE partition = %(partition)s
          AND closed_at IS NULL
          AND reservation_id > %(after)s
        ORDER BY reservation_id
        LIMIT %(limit)s
        """,
        {"after": after, "limit": limit},
    )


async def closed_reservations_after(
    ledger: Ledger, partition: int, after: tuple[datetime, str], limit: int
) -> list[tuple[str, str, bytes, datetime]]:
    """The next closed reservations by the time they closed, with their orders and images."""
    return await _rows(
        ledger,
        partition,
        """
        SELECT reservation_id, order_id, document, closed_at
        FROM reservations
        WHERE partition = %(partition)s
          AND closed_at IS NOT NULL
          AND (closed_at, reservation_id) > (%(closed_at)s, %(reservation_id)s)
        ORDER BY closed_at, reservation_id
        LIMIT %(limit)s
        """,
        {"closed_at": after[0], "reservation_id": after[1], "limit": limit},
    )


async def kept_reservations(ledger: Ledger, partition: int, ids: Sequence[str]) -> dict[str, Kept]:
    """What the ledger now says of each reservation it has."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT reservation_id, round(extract(epoch FROM closed_at) * 1000)::bigint, status,
            order_id, round(extract(epoch FROM expires_at) * 1000)::bigint
        FROM reservations
        WHERE reservation_id = ANY(%(ids)s)
          AND partition = %(partition)s
        """,
        {"ids": list(ids)},
    )
    return {row[0]: Kept(*row[1:]) for row in rows}


async def reservations_as_of(
    ledger: Ledger, partition: int, ids: Sequence[str], seq: int
) -> list[Image]:
    """Each reservation's image when `seq` was the latest entry."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT reservation_id, seq, document
        FROM reservations
        WHERE reservation_id = ANY(%(ids)s)
          AND partition = %(partition)s
        """,
        {"ids": list(ids)},
    )
    return await _as_of(ledger, partition, RESERVATION, ids, seq, {row[0]: row[1:] for row in rows})


async def orders_as_of(ledger: Ledger, partition: int, ids: Sequence[str], seq: int) -> list[Image]:
    """Each order's image when `seq` was the latest entry."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT order_id, seq, document
        FROM orders
        WHERE order_id = ANY(%(ids)s)
          AND partition = %(partition)s
        """,
        {"ids": list(ids)},
    )
    return await _as_of(ledger, partition, ORDER, ids, seq, {row[0]: row[1:] for row in rows})


async def order_images(
    ledger: Ledger, partition: int, ids: Sequence[str]
) -> dict[str, tuple[bytes, int]]:
    """The image of each order that the ledger has now, and when its entry was written."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT order_id, document, round(extract(epoch FROM entries.at) * 1000)::bigint
        FROM orders
        JOIN entries USING (partition, seq)
        WHERE order_id = ANY(%(ids)s)
          AND orders.partition = %(partition)s
        """,
        {"ids": list(ids)},
    )
    return {row[0]: row[1:] for row in rows}


async def orders_after(
    ledger: Ledger, partition: int, after_seq: int, through_seq: int, limit: int
) -> list[tuple[str, int, bytes]]:
    """The next orders by their latest entries, with their images."""
    return await _rows(
        ledger,
        partition,
        """
        SELECT order_id, seq, document
        FROM orders
        WHERE partition = %(partition)s
          AND seq > %(after)s
          AND seq <= %(through)s
        ORDER BY seq
        LIMIT %(limit)s
        """,
        {"after": after_seq, "through": through_seq, "limit": limit},
    )


async def order_history(
    ledger: Ledger, partition: int, order_id: str, seq: int
) -> list[EarlyOrder]:
    """Every image the order has had through `seq`, the latest first."""
    rows = await _rows(
        ledger,
        partition,
        """
        SELECT round(extract(epoch FROM entries.at) * 1000)::bigint, entries.images
        FROM traces
        JOIN entries USING (partition, seq)
        WHERE ref = %(order_id)s
          AND partition = %(partition)s
          AND traces.seq <= %(seq)s
        ORDER BY traces.seq DESC
        """,
        {"order_id": order_id, "seq": seq},
    )
    images = ((at_ms, image_of(images, ORDER + order_id)) for at_ms, images in rows)
    return [EarlyOrder(at_ms, image) for at_ms, image in images if image is not None]


async def _as_of(
    ledger: Ledger,
    partition: int,
    kind: str,
    ids: Sequence[str],
    seq: int,
    projected: Mapping[str, tuple[int, bytes]],
) -> list[Image]:
    images: list[Image] = []
    for key in ids:
        seq_of, image = projected.get(key, (0, None))
        younger = seq_of > seq
        images.append(await _image_as_of(ledger, partition, kind, key, seq) if younger else image)
    return images


async def _image_as_of(ledger: Ledger, partition: int, kind: str, key: str, seq: int) -> Image:
    """The image out of the last entry through `seq` that touched it; None if none has."""
    name, before = kind + key, seq + 1
    while True:
        rows = await _rows(
            ledger,
            partition,
            """
            SELECT seq, images
            FROM traces
            JOIN entries USING (partition, seq)
            WHERE ref = %(key)s
              AND partition = %(partition)s
              AND traces.seq < %(before)s
            ORDER BY traces.seq DESC
            LIMIT %(limit)s
            """,
            {"key": key, "before": before, "limit": _AT_ONCE},
        )
        for _, images in rows:
            touched = dict(decode_images(images))
            if name in touched:
                return touched[name]
        if len(rows) < _AT_ONCE:
            return None
        before = rows[-1][0]


async def _rows(
    ledger: Ledger, partition: int, statement: str, values: Mapping[str, Any]
) -> list[Any]:
    async with ledger.connection(PAGE_SECONDS) as connection:
        # One statement: to begin and end a transaction by itself would be two more round trips.
        await connection.set_autocommit(True)
        try:
            async with connection.cursor(binary=True) as cursor:
                await cursor.execute(statement.encode(), {**values, "partition": partition})
                return await cursor.fetchall()
        finally:
            if not connection.closed:
                await connection.set_autocommit(False)
