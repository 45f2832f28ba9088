"""A fork's entry, as far as it can be read: it may have been changed by hand."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from atp_service.inventory.commands import AnyCommand, decode_command
from atp_service.inventory.journal import (
    RESERVATION,
    UNREADABLE,
    CommandFields,
    DecodedEntry,
    Entry,
    Head,
    Images,
    decode_fields,
    decode_head,
    decode_images,
)
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.ledger.rebuilds import ForkEntry

T = TypeVar("T")


class Step(Struct, frozen=True):
    """An entry to be applied again; `command` is its command as it is to be given now."""

    entry: ForkEntry
    decoded: DecodedEntry
    command: AnyCommand

    @property
    def reservation_id(self) -> str:
        """Of the reservation that the command names; empty if it names none."""
        return getattr(self.command, "reservation_id", None) or ""


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
    command = _read(decode_command, fork.command)
    fields = _read(decode_fields, fork.command) or CommandFields()
    return DecodedEntry(entry, head, command, fields, {}, reservations, {})


def _read(decode: Callable[[bytes], T], value: bytes) -> T | None:
    try:
        return decode(value)
    except UNREADABLE:
        return None
