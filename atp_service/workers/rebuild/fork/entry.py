"""What an entry of a fork says, as far as it can be read: somebody may have had a hand in it."""

from typing import Final

import msgspec
from msgspec import Struct

from atp_service.inventory.commands import AnyCommand, decode_command
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.ledger.rebuilds import ForkEntry

# What is no UTF-8 is no DecodeError.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)

_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Said(Struct, frozen=True):
    """The command, None where it can't be read; the reservations as they were left, those that can
    be read; and the names of all levels, reservations and orders that it touched, in order."""

    command: AnyCommand | None
    reservations: dict[str, Reservation]
    levels: list[str]
    reservation_ids: list[str]
    order_ids: list[str]


def said_by(entry: ForkEntry) -> Said:
    """What the entry says."""
    try:
        command = decode_command(entry.command)
    except UNREADABLE:
        command = None
    try:
        images = _decode_images(entry.images)
    except UNREADABLE:
        images = []
    reservations = {}
    for name, image in images:
        if name[:1] == "r":
            try:
                reservations[name[1:]] = decode_reservation(image)
            except UNREADABLE:
                continue
    return Said(
        command,
        reservations,
        [name[1:] for name, _ in images if name[:1] == "l"],
        [name[1:] for name, _ in images if name[:1] == "r"],
        [name[1:] for name, _ in images if name[:1] == "o"],
    )
