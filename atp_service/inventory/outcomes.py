"""The outcome of a command. Refusals are values; the script returns `[tag, seq, blob, …]`."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.msgpack import Decoder

from atp_service.identifiers import Refusal
from atp_service.inventory.commands import HoldLine
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.reservations import Reservation, decode_reservation


class Shortage(Struct, array_like=True, frozen=True):
    """A line that can't be held in full; `available` is what was left for it.

    `refused`: why none of it may be promised, whatever there is.
    """

    line_id: str
    sku: str
    location: str
    requested: int
    available: int
    refused: Refusal | None = None


class Excess(Struct, array_like=True, frozen=True):
    """More units named than a line has open; `open` is -1 where there is no such line."""

    line_id: str
    requested: int
    open: int


class Held(Struct, frozen=True):
    """Units are held anew (hold, replace)."""

    entry: EntryRef
    reservation: Reservation


class Changed(Struct, frozen=True):
    """The reservation has changed (extend, release, fulfil, no-pick)."""

    entry: EntryRef
    reservation: Reservation


class Confirmed(Struct, frozen=True):
    """The order's units are allocated; the reservation's `outcome` says kept or reacquired."""

    entry: EntryRef
    reservation: Reservation


class Repeated(Struct, frozen=True):
    """Done before; nothing changed. `entry` is the reservation's latest."""

    entry: EntryRef
    reservation: Reservation


class Unchanged(Struct, frozen=True):
    """Nothing to do: it is so already (safety stock, a hold not yet due)."""


class Refused(Struct, frozen=True):
    """Lines that may not be promised; nothing changed. All have a reason of the same kind."""

    lines: list[Shortage]


class TermsNeeded(Struct, frozen=True):
    """The command has no terms for the reservation as it is; nothing changed."""

    reservation: Reservation


class InsufficientStock(Struct, frozen=True):
    """Not enough units; nothing changed."""

    shortages: list[Shortage]


class ReservationLost(Struct, frozen=True):
    """Confirmed too late: the hold had lapsed, and its units are gone or may not be sold now."""

    shortages: list[Shortage]


class ReservationIdReused(Struct, frozen=True):
    """The id belongs to a reservation with other content."""


class NotFound(Struct, frozen=True):
    """No such reservation, or forgotten since."""


class WrongStatus(Struct, frozen=True):
    """The reservation's status doesn't allow the call."""

    reservation: Reservation


class GenerationMismatch(Struct, frozen=True):
    """Another caller replaced the lines; `reservation` is what they are now."""

    reservation: Reservation


class AlreadyConfirmed(Struct, frozen=True):
    """Confirmed before, with another order."""

    reservation: Reservation


class QuantityNotOpen(Struct, frozen=True):
    """More units named than are open."""

    excesses: list[Excess]


class NoRoom(Struct, frozen=True):
    """Redis is nearly out of memory: promises are refused, facts are not."""


class Applied(Struct, frozen=True):
    """The fact is in the stock. Its entry's `seq` is 0 for a heartbeat, which leaves none."""

    entry: EntryRef


class Absorbed(Struct, frozen=True):
    """The fact is known, but a later count or document already says so."""

    entry: EntryRef


class Duplicate(Struct, frozen=True):
    """The fact was known."""


class Parked(Struct, frozen=True):
    """Kept as an exception."""

    entry: EntryRef


class Moved(Struct, frozen=True):
    """on_hand changed since the count's deltas were added up: add them up again."""


class Again(Struct, frozen=True):
    """More lapsed holds are due than one call reaps: send the command again."""


class SpansPartitions(Struct, frozen=True):
    """A cart's lines are in several partitions; nothing was asked of any.

    `lines` are those outside the partition of the reservation, or of the cart's first line.
    """

    lines: list[HoldLine]


class Swept(Struct, frozen=True):
    """How many holds were reaped, and whether more are due."""

    reaped: int
    more: bool


class Faulted(Struct, frozen=True):
    """The script stumbled over this command alone; nothing of it was written."""

    message: str


_Kept = Held | Changed | Confirmed | Repeated | Unchanged | Swept
_Short = Refused | TermsNeeded | InsufficientStock | ReservationLost | QuantityNotOpen | NoRoom
_Misplaced = ReservationIdReused | NotFound | WrongStatus | GenerationMismatch | AlreadyConfirmed
_OfFact = Applied | Absorbed | Duplicate | Parked
_Undecided = Moved | Again | SpansPartitions | Faulted
Outcome = _Kept | _Short | _Misplaced | _OfFact | _Undecided

_shortages = Decoder(list[Shortage]).decode
_excesses = Decoder(list[Excess]).decode
_DECODERS: dict[bytes, Callable[[Any, int, int], Outcome]] = {
    b"held": lambda r, p, e: Held(EntryRef(p, e, r[1]), decode_reservation(r[2])),
    b"changed": lambda r, p, e: Changed(EntryRef(p, e, r[1]), decode_reservation(r[2])),
    b"confirmed": lambda r, p, e: Confirmed(EntryRef(p, e, r[1]), decode_reservation(r[2])),
    b"repeated": lambda r, p, e: Repeated(EntryRef(p, e, r[1]), decode_reservation(r[2])),
    b"unchanged": lambda *_: Unchanged(),
    b"refused": lambda r, *_: Refused(_shortages(r[2])),
    b"terms_needed": lambda r, *_: TermsNeeded(decode_reservation(r[2])),
    b"insufficient_stock": lambda r, *_: InsufficientStock(_shortages(r[2])),
    b"reservation_lost": lambda r, *_: ReservationLost(_shortages(r[2])),
    b"reservation_id_reused": lambda *_: ReservationIdReused(),
    b"not_found": lambda *_: NotFound(),
    b"wrong_status": lambda r, *_: WrongStatus(decode_reservation(r[2])),
    b"generation_mismatch": lambda r, *_: GenerationMismatch(decode_reservation(r[2])),
    b"already_confirmed": lambda r, *_: AlreadyConfirmed(decode_reservation(r[2])),
    b"quantity_not_open": lambda r, *_: QuantityNotOpen(_excesses(r[2])),
    b"no_room": lambda *_: NoRoom(),
    b"applied": lambda r, p, e: Applied(EntryRef(p, e, r[1])),
    b"absorbed": lambda r, p, e: Absorbed(EntryRef(p, e, r[1])),
    b"duplicate": lambda *_: Duplicate(),
    b"parked": lambda r, p, e: Parked(EntryRef(p, e, r[1])),
    b"moved": lambda *_: Moved(),
    b"again": lambda *_: Again(),
    b"swept": lambda r, *_: Swept(r[1], r[2] == b"more"),
    b"faulted": lambda r, *_: Faulted(r[2].decode()),
}


def decode_outcome(reply: Sequence[Any], partition: int, epoch: int) -> Outcome:
    """One command's part of the script's reply, which the partition gave in this epoch."""
    return _DECODERS[reply[0]](reply, partition, epoch)
