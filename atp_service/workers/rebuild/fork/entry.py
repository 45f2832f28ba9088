"""A fork's entry, as far as it can be read: it may have been changed by hand."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from atp_service.inventory.commands import decode_command
from atp_service.inventory.journal import (
    RESERVATION,
    DecodedEntry,
    Entry,
    Head,
    Images,
    decode_head,
    decode_images,
)
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.ledger.rebuilds import ForkEntry

# What is no UTF-8 is no DecodeError.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)

T = TypeVar("T")


def readable(fork: ForkEntry) -> DecodedEntry:
    """The entry without the parts that can't be read. Of the values only reservations are decoded;
    a head that can't be read is without deltas."""
    images: Images = _read(decode_images, fork.images) or []
    head: Head = _read(decode_head, fork.head) or Head(fork.epoch, 0, "", 0)
    reservations: dict[str, Reservation] = {}
    for name, image in images:
        if name[:1] == RESERVATION and image is not None:
            reservation = _read(decode_reservation, image)
            if reservation is not None:
                reservations[name[1:]] = reservation
    entry = Entry(fork.seq, fork.command, fork.head, fork.digest, images)
    return DecodedEntry(entry, head, _read(decode_command, fork.command), {}, reservations, {})


def _read(decode: Callable[[bytes], T], value: bytes) -> T | None:
    try:
        return decode(value)
    except UNREADABLE:
        return None
