"""A journal written by hand, in the format of inventory/journal.py: what the script would write."""

from collections.abc import Mapping, Sequence

import msgspec

from atp_service.inventory.commands import Command, Park, Sale, encode_command
from atp_service.inventory.journal import RULES, Entry, FactStatus, Head, Image, Notice
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.stock import StockLevel, level_field

EPOCH = 1
NOON = 1_764_000_000_000

_encode = msgspec.msgpack.Encoder().encode


class Writer:
    """Writes entries that continue each other; one millisecond passes between them."""

    def __init__(self, epoch: int = EPOCH, seq: int = 0, digest: str = "") -> None:
        self.epoch = epoch
        self.seq = seq
        self.digest = digest
        self.levels: dict[tuple[str, str], StockLevel] = {}

    def write(
        self,
        command: Command,
        *,
        levels: Sequence[tuple[str, str, StockLevel | None]] = (),
        deltas: Sequence[int] = (),
        reservations: Mapping[str, Reservation] | None = None,
        orders: Mapping[str, Order] | None = None,
        opened: Sequence[Notice] = (),
        settled: Sequence[Notice] = (),
        status: FactStatus = "",
        marks: Sequence[str] = (),
    ) -> Entry:
        self.seq += 1
        kind = str(command.__struct_config__.tag)
        head = Head(
            self.epoch,
            self.at_ms,
            kind,
            RULES,
            list(deltas),
            list(opened),
            list(settled),
            status=status,
            marks=list(marks),
        )
        images: list[tuple[str, Image]] = [
            (f"l{level_field(s, where)}", None if level is None else _encode(level))
            for s, where, level in levels
        ]
        images += [(f"r{key}", _encode(image)) for key, image in (reservations or {}).items()]
        images += [(f"o{key}", _encode(image)) for key, image in (orders or {}).items()]
        draft = Entry(self.seq, encode_command(command), _encode(head), "", images)
        entry = msgspec.structs.replace(draft, digest=draft.digest_after(self.digest))
        self.digest = entry.digest
        return entry

    @property
    def at_ms(self) -> int:
        return NOON + self.seq

    def sale(
        self, sku: str, quantity: int = 1, *, location: str = "DC-1", occurred_at_ms: int = 0
    ) -> Entry:
        """A plain sale; the level goes below zero if it must."""
        level = self.levels.get((sku, location), StockLevel())
        level = msgspec.structs.replace(
            level,
            on_hand=level.on_hand - quantity,
            version=level.version + 1,
            moves=level.moves + 1,
            updated_at=self.at_ms + 1,
        )
        self.levels[sku, location] = level
        command = Sale(
            source="pos/store-1",
            event_id=f"sale-{self.seq + 1}",
            occurred_at_ms=occurred_at_ms or self.at_ms,
            sku=sku,
            location=location,
            quantity=quantity,
        )
        return self.write(command, levels=[(sku, location, level)], deltas=[-quantity])

    def park(self, subject: str, *, reason: str = "unknown-sku", payload: str = "{}") -> Entry:
        command = Park(
            source="pos/store-1",
            event_id=f"parked-{self.seq + 1}",
            occurred_at_ms=self.at_ms,
            reason=reason,
            owner="integration",
            subject=subject,
            detail=f"nobody knows {subject}",
            payload=payload,
        )
        return self.write(command)
