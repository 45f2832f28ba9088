"""What a partition holds by the ledger: read in pages, to fill a Redis with.

Every function takes a connection of its own: a page is on its way while one is worked on.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from atp_service.inventory.journal import Entry, decode_images
from atp_service.postgres.cursors import pages


async def levels(
    connection: AsyncConnection[Any], partition: int
) -> AsyncIterator[list[tuple[str, str, bytes]]]:
    """(SKU, location, image) of every level, by SKU."""
    query = """
        SELECT sku, location, document
        FROM levels
        WHERE partition = %s
        ORDER BY sku, location
    """
    async for rows in pages(connection, query, (partition,)):
        yield rows


async def reservations(
    connection: AsyncConnection[Any], partition: int, closed_after: datetime
) -> AsyncIterator[list[tuple[str, bytes]]]:
    """(id, image) of those that are open or closed since."""
    query = """
        SELECT reservation_id, document
        FROM reservations
        WHERE partition = %s
          AND (closed_at IS NULL OR closed_at > %s)
    """
    async for rows in pages(connection, query, (partition, closed_after)):
        yield rows


async def orders(
    connection: AsyncConnection[Any], partition: int, order_ids: Sequence[str]
) -> list[tuple[str, bytes]]:
    """(id, image) of the orders asked for."""
    cursor = await connection.execute(
        "SELECT order_id, document FROM orders WHERE partition = %s AND order_id = ANY(%s)",
        (partition, list(order_ids)),
        binary=True,
    )
    return await cursor.fetchall()


async def held(
    connection: AsyncConnection[Any], partition: int, reservation_ids: Sequence[str]
) -> dict[str, int]:
    """The entries with which those of the reservations that the ledger has began."""
    cursor = await connection.execute(
        """
        SELECT ref, max(seq)
        FROM traces
            JOIN entries USING (partition, seq)
        WHERE partition = %s
          AND ref = ANY(%s)
          AND kind = 'hold'
        GROUP BY ref
        """,
        (partition, list(reservation_ids)),
    )
    return dict(await cursor.fetchall())


_TOLD_BY_IMAGES = [
    *("replace", "extend", "confirm", "release", "fulfil", "no_pick"),
    *("sale", "shipment"),
]


async def window(
    connection: AsyncConnection[Any], partition: int, from_seq: int
) -> AsyncIterator[list[tuple[int, str, int, bytes, bytes | None]]]:
    """(seq, kind, at in ms, command, images) of the entries that leave something in the dedupe
    window. Images only of those whose command alone doesn't tell."""
    query = """
        SELECT
            seq, kind, (extract(epoch FROM at) * 1000)::bigint, command,
            CASE WHEN kind = ANY(%s) THEN images END
        FROM entries
        WHERE partition = %s
          AND seq >= %s
          AND kind NOT IN ('hold', 'lapse')
        ORDER BY seq
    """
    async for rows in pages(connection, query, (_TOLD_BY_IMAGES, partition, from_seq)):
        yield rows


async def first_seq_since(
    connection: AsyncConnection[Any], partition: int, last_seq: int, moment: datetime
) -> int:
    """The first entry at or after the moment, one beyond the last where there is none: entries
    never go back in time, so few have to be looked at."""
    low, high = 1, last_seq + 1
    while low < high:
        middle = (low + high) // 2
        cursor = await connection.execute(
            "SELECT at < %s FROM entries WHERE partition = %s AND seq = %s",
            (moment, partition, middle),
        )
        row = await cursor.fetchone()
        if row is not None and row[0]:
            low = middle + 1
        else:
            high = middle
    return low


async def last_entry(
    connection: AsyncConnection[Any], partition: int, seq: int
) -> tuple[Entry, datetime] | None:
    """The entry, as it was in the journal, and when it was made."""
    cursor = await connection.execute(
        """
        SELECT command, head, digest, images, at
        FROM entries
        WHERE partition = %s AND seq = %s
        """,
        (partition, seq),
        binary=True,
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    command, head, digest, images, at = row
    return Entry(seq, command, head, digest, decode_images(images)), at
