"""The ledger by itself: whether each level's numbers are what explains them.

A number that somebody changed in Redis looks sound once a command has come over it: its entry has
recorded it. But on_hand is then no longer the sum of its changes, or what a level has promised no
longer what its reservations hold.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, structs
from psycopg import AsyncConnection

from atp_service.inventory.journal import decode_head
from atp_service.inventory.reservations import decode_reservation
from atp_service.inventory.stock import SEPARATOR, StockLevel, decode_level, level_field
from atp_service.ledger.ledger import Ledger
from atp_service.postgres.cursors import pages

SNAPSHOT_SECONDS = 900.0
_AT_ONCE = 500  # rows

_OPEN = """
SELECT document
FROM reservations
WHERE in_redis
  AND closed_at IS NULL
  AND partition = %(partition)s
"""
_PROMISED_OR_ODD = """
SELECT sku, location, document, folded
FROM levels
WHERE partition = %(partition)s
  AND (on_hand <> folded OR reserved <> 0 OR allocated <> 0)
"""
_NAMED = """
SELECT sku, location, document, folded
FROM levels
JOIN unnest(%(skus)s::text[], %(locations)s::text[]) AS asked (sku, location)
    USING (sku, location)
WHERE partition = %(partition)s
"""

_COUNTED = """
SELECT movements.seq, movements.on_hand, entries.head
FROM movements
JOIN entries USING (partition, seq)
WHERE sku = %(sku)s
  AND location = %(location)s
  AND movements.kind IN ('count', 'snapshot')
ORDER BY movements.seq DESC
"""
_MOVED_SINCE = """
SELECT coalesce(sum(on_hand_delta), 0)::bigint
FROM movements
WHERE sku = %(sku)s
  AND location = %(location)s
  AND seq > %(seq)s
"""


class Unexplained(Struct, frozen=True):
    """A level as the ledger has it, and with the numbers that can be explained."""

    sku: str
    location: str
    level: StockLevel
    right: StockLevel


async def unexplained(
    ledger: Ledger, partition: int, rest: Callable[[], Awaitable[None]]
) -> list[Unexplained]:
    """Levels whose numbers nothing explains, all as of one moment; `rest` is called between pages.

    What is promised is added up in memory: some hundred bytes for each level that has a part in an
    open reservation.
    """
    async with ledger.connection(SNAPSHOT_SECONDS) as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        of: dict[str, Any] = {"partition": partition}
        promised: dict[str, tuple[int, int]] = {}
        async for rows in pages(connection, _OPEN, of, size=_AT_ONCE):
            for (document,) in rows:
                _add(promised, document)
            await rest()
        found: list[Unexplained] = []
        async for rows in pages(connection, _PROMISED_OR_ODD, of, size=_AT_ONCE):
            found += _odd(rows, promised)
            await rest()
        # The rest is promised by levels whose own numbers show no promise.
        names = [name.split(SEPARATOR) for name, units in promised.items() if any(units)]
        named = {"skus": [n[0] for n in names], "locations": [n[1] for n in names]}
        async for rows in pages(connection, _NAMED, of | named, size=_AT_ONCE):
            found += _odd(rows, promised)
        # A count sets on_hand, whatever it was before: its delta is no change of trade.
        explained = [await _since_counted(connection, odd) for odd in found]
    return [odd for odd in explained if odd.right != odd.level]


async def _since_counted(connection: AsyncConnection[Any], odd: Unexplained) -> Unexplained:
    """on_hand as its latest count (or correction by a snapshot) and the deltas since explain it."""
    if odd.right.on_hand == odd.level.on_hand:
        return odd
    counted = await _counted(connection, odd.sku, odd.location)
    if counted is None:
        return odd
    seq, on_hand = counted
    since = await connection.execute(
        _MOVED_SINCE, {"sku": odd.sku, "location": odd.location, "seq": seq}
    )
    (moved,) = await since.fetchone() or (0,)
    return structs.replace(odd, right=structs.replace(odd.right, on_hand=on_hand + moved))


async def _counted(
    connection: AsyncConnection[Any], sku: str, location: str
) -> tuple[int, int] | None:
    """The latest entry that set on_hand, and to what."""
    async with connection.cursor("counted", binary=True) as cursor:
        await cursor.execute(_COUNTED, {"sku": sku, "location": location})
        async for seq, on_hand, head in cursor:
            if not decode_head(head).status:
                return seq, on_hand
    return None


def _add(promised: dict[str, tuple[int, int]], document: bytes) -> None:
    for line in decode_reservation(document).lines:
        if line.open:
            name = level_field(line.sku, line.location)
            reserved, allocated = promised.get(name, (0, 0))
            promised[name] = reserved + line.reserved, allocated + line.allocated


def _odd(rows: list[Any], promised: dict[str, tuple[int, int]]) -> list[Unexplained]:
    found = []
    for sku, location, document, folded in rows:
        level = decode_level(document)
        reserved, allocated = promised.pop(level_field(sku, location), (0, 0))
        right = structs.replace(level, on_hand=folded, reserved=reserved, allocated=allocated)
        if right != level:
            found.append(Unexplained(sku, location, level, right))
    return found
