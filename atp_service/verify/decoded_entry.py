"""Decoded entries: how one is read from its row, and how it is called in a finding."""

import struct
from collections.abc import Mapping
from typing import Any, Final

from atp_service.inventory.commands import (
    AnyCommand,
    Fact,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    decode_command,
)
from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, DecodedEntry, decode_entry
from atp_service.inventory.stock import level_field, split_field
from atp_service.ledger.read.raw_entries import Row

# The errors of an entry that the script can't have written: values that can't be decoded (msgspec's
# errors are ValueErrors), numbers that no column has room for.
UNREADABLE: Final = (ValueError, struct.error)

_REPAIRS = frozenset(("repair_level", "repair_reservation", "repair_order"))


def read(row: Row) -> DecodedEntry:
    """Raises ValueError (msgspec's are) if something of the entry can't be read."""
    return decode_entry(row.entry(), decode_command(row.command))


def with_gone(decoded: DecodedEntry, kind: str) -> Mapping[str, Any]:
    """The entry's values of one kind by key, in order; None if Redis keeps nothing any more."""
    of_kind: dict[str, Mapping[str, Any]] = {
        LEVEL: decoded.levels,
        RESERVATION: decoded.reservations,
        ORDER: decoded.orders,
    }
    values = of_kind[kind]
    if not has_gone(decoded):
        return values
    return {key: values.get(key) for key in decoded.entry.keys(kind)}


def has_gone(decoded: DecodedEntry) -> bool:
    """Whether Redis has let go of something by this entry."""
    there = len(decoded.levels) + len(decoded.reservations) + len(decoded.orders)
    return there != len(decoded.entry.images)


def called(decoded: DecodedEntry) -> str:
    """`entry 123 (sale pos/store-1 042-0001)`."""
    return f"entry {decoded.seq} ({decoded.head.kind} {_whose(decoded.command)})"


def subject(name: str) -> str:
    """An image's name for people: `SKU-1 at DC-1`, `reservation r1`, `order o1`."""
    kind, key = name[:1], name[1:]
    if kind == LEVEL:
        return " at ".join(split_field(key))
    return f"{'reservation' if kind == RESERVATION else 'order'} {key}"


def repaired_by(decoded: DecodedEntry) -> str | None:
    """The name of the image that the entry's command repairs; None if it is no repair."""
    if decoded.head.kind not in _REPAIRS:
        return None
    match decoded.command:
        case RepairLevel(sku=sku, location=location):
            return LEVEL + level_field(sku, location)
        case RepairReservation(reservation_id=key):
            return RESERVATION + key
        case RepairOrder(order_id=key):
            return ORDER + key
    return None


def _whose(command: AnyCommand | None) -> str:
    if isinstance(command, Fact):
        return f"{command.source} {command.event_id}"
    for name in ("reservation_id", "order_id"):
        key = getattr(command, name, None)
        if key is not None:
            return str(key)
    return f"{getattr(command, 'sku', '')} at {getattr(command, 'location', '')}"
