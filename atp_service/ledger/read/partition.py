"""What a partition holds by the ledger: read in pages, to fill a Redis with.

Every function takes a connection of its own: a page is on its way while one is worked on.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from atp_service.inventory.journal import Entry, decode_images
from atp_service.ledger.read.as_of_entry import Kind
from atp_service.postgres.cursors import pages


def levels(
    connection: AsyncConnection[Any], partition: int
) -> AsyncIterator[list[tuple[str, str, bytes]]]:
    """(SKU, location, image) of every level, by SKU."""
    query = """
        SELECT sku, location, document
        FROM levels
        WHERE partition = %s
        ORDER BY sku, location
    """
    return pages(connection, query, (partition,))


def documents(
    connection: AsyncConnection[Any], partition: int, kind: Kind
) -> AsyncIterator[list[tuple[str, bytes]]]:
    """(id, image) of each that Redis must have."""
    query = f"""
        SELECT {kind[:-1]}_id, document
        FROM {kind}
        WHERE partition = %s
          AND in_redis
    """  # noqa: S608  # names of ours
    return pages(connection, query, (partition,))


def window(
    connection: AsyncConnection[Any], partition: int, from_seq: int
) -> AsyncIterator[list[tuple[int, bytes, bytes]]]:
    """(seq, command, head) of the entries that may leave a dedupe mark."""
    query = """
        SELECT seq, command, head
        FROM entries
        WHERE partition = %s
          AND seq >= %s
          AND kind NOT IN ('hold', 'lapse', 'forget')
        ORDER BY seq
    """
    return pages(connection, query, (partition, from_seq))


async def first_seq_since(
    connection: AsyncConnection[Any], partition: int, last_seq: int, moment: datetime
) -> int:
    """The first entry at or after the moment, one beyond the last if there is none: entries
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
