"""An entry, decoded as far as verifying needs it, and how it is called when it is named."""

import struct
from typing import Final

from msgspec import Struct

from atp_service.inventory.commands import (
    AnyCommand,
    Fact,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    decode_command,
)
from atp_service.inventory.journal import Entry, Head, decode_head
from atp_service.inventory.reservations import (
    Order,
    Reservation,
    decode_order,
    decode_reservation,
)
from atp_service.inventory.stock import StockLevel, decode_level, level_field, split_field
from atp_service.ledger.read.raw_entries import Row

# What is met in an entry that the script can't have written: values that are none (msgspec's errors
# are ValueErrors), numbers that no column has room for.
UNREADABLE: Final = (ValueError, struct.error)


class Reading(Struct, gc=False):
    """An entry with its command and images, each by its name in Redis."""

    entry: Entry
    head: Head
    command: AnyCommand
    levels: dict[str, StockLevel]
    reservations: dict[str, Reservation]
    orders: dict[str, Order]


def read(row: Row) -> Reading:
    """Raises ValueError (msgspec's are) if something of the entry can't be read."""
    entry = row.entry()
    levels, reservations, orders = {}, {}, {}
    for name, image in entry.images:
        what = name[:1]
        if what == "l":
            levels[name[1:]] = decode_level(image)
        elif what == "r":
            reservations[name[1:]] = decode_reservation(image)
        elif what == "o":
            orders[name[1:]] = decode_order(image)
        else:
            raise ValueError(f"an image of {name!r}")
    head, command = decode_head(entry.head), decode_command(entry.command)
    return Reading(entry, head, command, levels, reservations, orders)


def called(reading: Reading) -> str:
    """`entry 123 (sale pos/store-1 042-0001)`."""
    return f"entry {reading.entry.seq} ({reading.head.kind} {_whose(reading.command)})"


def subject(name: str) -> str:
    """An image's name for people: `SKU-1 at DC-1`, `reservation r1`, `order o1`."""
    what, key = name[:1], name[1:]
    if what == "l":
        return " at ".join(split_field(key))
    return f"{'reservation' if what == 'r' else 'order'} {key}"


def repaired_by(command: AnyCommand) -> str | None:
    """The name of the image that the command repairs, if it does."""
    match command:
        case RepairLevel(sku=sku, location=location):
            return f"l{level_field(sku, location)}"
        case RepairReservation(reservation_id=key):
            return f"r{key}"
        case RepairOrder(order_id=key):
            return f"o{key}"
    return None


def _whose(command: AnyCommand) -> str:
    if isinstance(command, Fact):
        return f"{command.source} {command.event_id}"
    for name in ("reservation_id", "order_id"):
        key = getattr(command, name, None)
        if key is not None:
            return str(key)
    return f"{getattr(command, 'sku', '')} at {getattr(command, 'location', '')}"
