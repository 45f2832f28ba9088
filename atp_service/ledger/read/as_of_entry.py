"""What a partition of Redis must have by the ledger: a page at a time, or as of an entry.

Every image in Redis is an entry's image, byte for byte. So an image read when entry S was the
latest one must be the ledger's as of S: the projection's, if that is no younger, else that of the
last entry with a seq up to S that touched it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from atp_service.inventory.journal import LEVEL, Image, decode_images, image_of
from atp_service.inventory.stock import SEPARATOR, level_field
from atp_service.ledger.ledger import Ledger

PAGE_SECONDS = 30.0  # for one page: the machine may be busy with selling

Pair = tuple[str, str]  # SKU, location
Kind = Literal["reservations", "orders"]

_BETWEEN = "\x1e"  # names in a text; no id may contain it
_AT_ONCE = 50  # entries looked through at once for one that touched something


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
    """Each level's image when `seq` was the latest entry; None if it was not there yet."""
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


_ID: Final = {"reservations": "reservation_id", "orders": "order_id"}


async def documents_after(
    ledger: Ledger, partition: int, kind: Kind, after: str, limit: int
) -> dict[str, bytes]:
    """The next that Redis must have, in the order of their ids, with their images."""
    condition = f"{_ID[kind]} > %(after)s ORDER BY {_ID[kind]} LIMIT %(limit)s"
    return await _documents(ledger, partition, kind, condition, {"after": after, "limit": limit})


async def documents(
    ledger: Ledger, partition: int, kind: Kind, ids: Sequence[str]
) -> dict[str, bytes]:
    """The images of those of the ids that Redis must have."""
    condition = f"{_ID[kind]} = ANY(%(ids)s)"
    return await _documents(ledger, partition, kind, condition, {"ids": list(ids)})


async def _documents(
    ledger: Ledger, partition: int, kind: Kind, condition: str, values: Mapping[str, Any]
) -> dict[str, bytes]:
    statement = f"""
        SELECT {_ID[kind]}, document
        FROM {kind}
        WHERE in_redis
          AND partition = %(partition)s
          AND {condition}
        """  # noqa: S608  # names of ours
    return dict(await _rows(ledger, partition, statement, values))


async def documents_as_of(
    ledger: Ledger, partition: int, kind: Kind, ids: Sequence[str], seq: int
) -> list[Image]:
    """Each image that Redis must have had when `seq` was the latest entry."""
    statement = f"""
        SELECT {_ID[kind]}, seq, CASE WHEN in_redis THEN document END
        FROM {kind}
        WHERE {_ID[kind]} = ANY(%(ids)s)
          AND partition = %(partition)s
        """  # noqa: S608  # names of ours
    rows = await _rows(ledger, partition, statement, {"ids": list(ids)})
    projected = {row[0]: row[1:] for row in rows}
    images: list[Image] = []
    for key in ids:
        seq_of, image = projected.get(key, (0, None))
        if seq_of > seq:
            image = await _image_as_of(ledger, partition, kind[0], key, seq)
        images.append(image)
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
    asked = {**values, "partition": partition}
    return await ledger.rows(statement.encode(), asked, seconds=PAGE_SECONDS)
