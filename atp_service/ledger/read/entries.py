"""Entries out of the ledger, and what each tells of itself."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder
from psycopg import AsyncConnection

from atp_service.inventory.commands import RepairLevel, decode_command
from atp_service.inventory.journal import Entry, Head, decode_head
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Place = tuple[int, int]  # partition, seq


class Said(Struct, frozen=True):
    """What people ask of a command, whichever it is; the rest is skipped unread."""

    traceparent: str | None = None
    source: str | None = None
    event_id: str | None = None
    occurred_at_ms: int | None = None
    reservation_id: str | None = None
    order_id: str | None = None
    shipment_id: str | None = None
    document: str | None = None
    erp_document: str | None = None
    channel: str | None = None
    reason: str | None = None
    line_id: str | None = None
    quantity: int | None = None
    lines: list[dict[str, Any]] | None = None


class Touched(Struct, frozen=True):
    """A level as an entry left it."""

    sku: str
    location: str
    on_hand_delta: int
    level: StockLevel


class Account(Struct, frozen=True):
    """One entry, taken apart; `repair` where it set a level right."""

    partition: int
    seq: int
    head: Head
    said: Said
    levels: list[Touched]
    reservations: list[tuple[str, Reservation]]
    orders: list[str]
    repair: RepairLevel | None = None

    @property
    def reservation_ids(self) -> list[str]:
        """The reservations it names or touches; the one it names comes first."""
        named = [self.said.reservation_id] if self.said.reservation_id else []
        return list(dict.fromkeys([*named, *(key for key, _ in self.reservations)]))

    @property
    def order_ids(self) -> list[str]:
        """The orders it names or touches, those of its reservations among them."""
        named = [self.said.order_id, *self.orders]
        found = [*named, *(reservation.order_id for _, reservation in self.reservations)]
        return list(dict.fromkeys(filter(None, found)))


_decode_said = Decoder(Said).decode
_decode_images = Decoder(list[tuple[str, bytes]]).decode

_ENTRIES = """
SELECT partition, seq, command, head, images
FROM entries
JOIN unnest(%(partitions)s::integer[], %(seqs)s::bigint[]) AS asked (partition, seq)
    USING (partition, seq)
"""


async def accounts_of(connection: AsyncConnection[Any], places: Collection[Place]) -> list[Account]:
    """What the entries tell, in the order of time."""
    cursor = await connection.execute(
        _ENTRIES,
        {"partitions": [place[0] for place in places], "seqs": [place[1] for place in places]},
    )
    accounts = [_account(*row) for row in await cursor.fetchall()]
    return sorted(accounts, key=lambda a: (a.head.at_ms, a.partition, a.seq))


def milliseconds(at: datetime) -> int:
    """Unix milliseconds; the rest of a millisecond is left out."""
    return (at - EPOCH) // _MILLISECOND


def _account(partition: int, seq: int, command: bytes, head: bytes, images: bytes) -> Account:
    entry = Entry(seq, command, head, "", _decode_images(images))
    levels = entry.levels()
    decoded = decode_head(head)
    deltas = decoded.on_hand_deltas or [0] * len(levels)
    return Account(
        partition,
        seq,
        decoded,
        _decode_said(command),
        [
            Touched(sku, location, delta, level)
            for (sku, location, level), delta in zip(levels, deltas, strict=True)
        ],
        entry.reservations(),
        [key for key, _ in entry.orders()],
        _repair(command) if decoded.kind == "repair_level" else None,
    )


def _repair(command: bytes) -> RepairLevel | None:
    try:
        repair = decode_command(command)
    except DecodeError:
        return None  # of another version: what it did stands in its images
    return repair if isinstance(repair, RepairLevel) else None
