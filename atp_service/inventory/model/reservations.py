"""Promises: hold, replace, extend, confirm, release. Checks come before any change.

Mirrors `lua/reservations.lua`.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

from atp_service.identifiers import Refusal
from atp_service.inventory.commands import (
    AnyCommand,
    Confirm,
    Extend,
    Hold,
    HoldLine,
    LineUnits,
    Release,
    Replace,
    Terms,
)
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.model.deadlines import order_now, reap_for_promise, reservation_now
from atp_service.inventory.model.stock import (
    Batch,
    append_entry,
    available,
    caller_key,
    level_of,
    mark_seen,
    put_reservation,
    reservation_of,
    touch_level,
    touch_order,
    touch_reservation,
)
from atp_service.inventory.outcomes import (
    Again,
    AlreadyConfirmed,
    Changed,
    Confirmed,
    Excess,
    GenerationMismatch,
    Held,
    InsufficientStock,
    NoRoom,
    Outcome,
    QuantityNotOpen,
    Refused,
    Repeated,
    ReservationIdReused,
    ReservationLost,
    Shortage,
    TermsNeeded,
    WrongStatus,
)
from atp_service.inventory.reservations import Line, Order, Reservation
from atp_service.inventory.stock import level_field

Answer = Callable[[EntryRef, Reservation], Outcome]


def answer(b: Batch, made: Answer, reservation_id: str) -> Outcome:
    reservation = reservation_of(b, reservation_id)
    assert reservation is not None  # noqa: S101  # the caller has looked
    return made(b.entry(reservation.seq), deepcopy(reservation))


def settle(b: Batch, made: Answer, command: AnyCommand) -> Outcome:
    """The command has changed the reservation: its entry, and the reservation as it is now."""
    name: str = command.reservation_id  # type: ignore[union-attr, assignment]
    key = caller_key(command, reservation_of(b, name))
    if key is not None:
        mark_seen(b, key)
    append_entry(b, command)
    return answer(b, made, name)


def same_content(
    reservation: Reservation, command: Hold | Replace, channel: str, customer_id: str
) -> bool:
    return (
        reservation.fingerprint == command.fingerprint
        and reservation.channel == channel
        and reservation.customer_id == customer_id
    )


def open_units(reservation: Reservation, line: Line) -> int:
    """What a line still has: units it holds, or held until its deadline passed."""
    return line.lapsed if reservation.status == "expired" else line.open


def has_open_units(reservation: Reservation) -> bool:
    return any(open_units(reservation, line) > 0 for line in reservation.lines)


def close_when_done(b: Batch, reservation: Reservation) -> None:
    """A reservation with nothing open is at its end: fulfilled if any unit left, else released."""
    if has_open_units(reservation):
        return
    left = any(line.fulfilled > 0 for line in reservation.lines)
    reservation.status = "fulfilled" if left else "released"
    reservation.closed_at = b.now
    reservation.kept_until = b.now + b.partition.window_ms


def give_back(b: Batch, lines: Sequence[Line]) -> None:
    """What a reservation has reserved goes back to its levels."""
    for line in lines:
        if line.reserved > 0:
            touch_level(b, level_field(line.sku, line.location)).reserved -= line.reserved


def allot(
    b: Batch, wanted: Sequence[HoldLine], known_lines: Sequence[Line]
) -> tuple[list[Line], list[Shortage]]:
    """Each line takes what its level has left, in order, after `known_lines` have given back.

    The lines of the reservation, and what is short: then it is for the caller to begin anew.
    """
    give_back(b, known_lines)
    lines, shortages = [], []
    for line in wanted:
        name = level_field(line.sku, line.location)
        units = line.quantity if line.granted is None else line.granted
        grant = min(available(b, name, line.safety_stock), units)
        if grant > 0:
            touch_level(b, name).reserved += grant
        if grant < units:
            shortages.append(Shortage(line.line_id, line.sku, line.location, units, grant))
        lines.append(
            Line(
                line.line_id,
                line.sku,
                line.location,
                line.quantity,
                reserved=grant,
                safety_stock=line.safety_stock,
            )
        )
    return lines, shortages


def may_come_back(
    b: Batch, lines: Sequence[Line], shortages: Sequence[Shortage], partial: bool
) -> bool:
    """Whether lapsed holds could help: no more can come back than others have reserved."""
    missing: dict[str, int] = {}
    mine: dict[str, int] = {}
    for line in lines:
        name = level_field(line.sku, line.location)
        mine[name] = mine.get(name, 0) + line.reserved
    for short in shortages:
        name = level_field(short.sku, short.location)
        missing[name] = missing.get(name, 0) + short.requested - short.available
    of_others = {
        name: level.reserved - mine[name] if (level := level_of(b, name)) else 0 for name in missing
    }
    enough = all(units >= missing[name] for name, units in of_others.items())
    return enough or (partial and any(units > 0 for units in of_others.values()))


def allot_after_reaping(
    b: Batch, wanted: Sequence[HoldLine], known_lines: Sequence[Line], partial: bool
) -> tuple[list[Line], list[Shortage], bool]:
    """As allot; but before anything is refused, lapsed holds are reaped."""
    lines, shortages = allot(b, wanted, known_lines)
    more = False
    if shortages and may_come_back(b, lines, shortages, partial):
        b.begin()
        more = reap_for_promise(b)
        lines, shortages = allot(b, wanted, known_lines)
        more = more and bool(shortages) and may_come_back(b, lines, shortages, partial)
    return lines, shortages, more


# Why a line may not be promised, in the order in which the reasons win. Up to UNKNOWN the names are
# not known; after it the SKU or the location is not sold.
REASONS: dict[Refusal | None, int] = {
    "unknown_sku": 1,
    "unknown_location": 2,
    "unasked": 3,
    "unknown_channel": 4,
    "unasked_channel": 5,
    "sku": 6,
    "inactive": 7,
    "closed": 7,
    "channel": 7,
}
UNKNOWN = 5


def refused(b: Batch, lines: Sequence[HoldLine], first: int) -> tuple[int, list[Shortage]]:
    """The first of the reasons from `first` on that keeps lines from being promised, and those
    lines; 0 if none does. While master data is away, what has a level is known.
    """
    places = {
        place
        for line in lines
        if (place := REASONS.get(line.refused, 0)) >= first
        and not (line.refused == "unasked" and level_of(b, level_field(line.sku, line.location)))
    }
    reason = min(places, default=0)
    return reason, [
        Shortage(line.line_id, line.sku, line.location, line.quantity, 0, line.refused)
        for line in lines
        if reason and REASONS.get(line.refused) == reason
    ]


def take(
    b: Batch, command: Hold | Replace, known: Reservation | None, channel: str, customer_id: str
) -> Outcome:
    """Take the lines of a hold or replace; `known` is the reservation they replace."""
    reservation_id, partial = command.reservation_id, command.allow_partial
    known_lines = known.lines if known else ()
    lines, shortages, more = allot_after_reaping(b, command.lines, known_lines, partial)
    granted = any(line.reserved > 0 for line in lines)
    if shortages and (more or not (partial and granted)):
        b.begin()
        return Again() if more else InsufficientStock(shortages)
    reservation = Reservation(
        status="held",
        generation=known.generation + 1 if known else 1,
        channel=channel,
        customer_id=customer_id,
        order_id="",
        created_at=known.created_at if known else b.now,
        expires_at=b.now + command.ttl_ms,
        closed_at=0,
        kept_until=0,
        fingerprint=command.fingerprint,
        outcome="",
        seq=0,
        lines=lines,
    )
    put_reservation(b, reservation_id, reservation)
    return settle(b, Held, command)


def promise(
    b: Batch, command: Hold | Replace, known: Reservation | None, channel: str, customer_id: str
) -> Outcome:
    """The order of answers, once it is no repeat: unknown, reused id, no room, SKU unavailable,
    location unavailable, insufficient stock.
    """
    reason, refused_lines = refused(b, command.lines, 1)
    if reason and reason <= UNKNOWN:
        return Refused(refused_lines)
    if known and isinstance(command, Hold):
        return ReservationIdReused()
    if b.promises_refused:
        return NoRoom()
    if reason:
        return Refused(refused_lines)
    return take(b, command, known, channel, customer_id)


def hold(b: Batch, command: Hold) -> Outcome:
    known = reservation_now(b, command.reservation_id)
    if known and same_content(known, command, command.channel, command.customer_id):
        return answer(b, Repeated, command.reservation_id)
    return promise(b, command, known, command.channel, command.customer_id)


def is_short(reservation: Reservation) -> bool:
    """Whether a line has been granted less than was asked for."""
    return any(
        open_units(reservation, line) + line.fulfilled + line.released < line.quantity
        for line in reservation.lines
    )


def has_fulfilled(reservation: Reservation) -> bool:
    return any(line.fulfilled > 0 for line in reservation.lines)


def replace(b: Batch, command: Replace, known: Reservation) -> Outcome:
    """The same content again is a repeat, whatever the generation and also once it is confirmed,
    unless all of it is asked for and only a part was had; an expired one is held anew. The order of
    answers: not found, a repeat, no longer held, generation mismatch, then that of a promise.
    """
    channel = known.channel if command.channel is None else command.channel
    customer_id = known.customer_id if command.customer_id is None else command.customer_id
    stands = known.status in ("held", "confirmed")
    repeated = stands and same_content(known, command, channel, customer_id)
    if repeated and (command.allow_partial or not is_short(known)):
        return answer(b, Repeated, command.reservation_id)
    if known.status not in ("held", "expired") or has_fulfilled(known):
        return WrongStatus(deepcopy(known))
    if command.if_generation is not None and command.if_generation != known.generation:
        return GenerationMismatch(deepcopy(known))
    if command.channel is None and channel != command.terms_channel:
        return TermsNeeded(deepcopy(known))
    return promise(b, command, known, channel, customer_id)


def extend(b: Batch, command: Extend, known: Reservation) -> Outcome:
    if known.status != "held":
        return WrongStatus(deepcopy(known))
    reservation = touch_reservation(b, command.reservation_id)
    reservation.expires_at = b.now + command.ttl_ms
    return settle(b, Changed, command)


def early_units(
    order: Order | None, lines: Sequence[Line], wanted: Sequence[int]
) -> tuple[list[int], list[tuple[str, str, int]]]:
    """Units of each line that were sold for the order before its confirm; same location first."""
    units = [0] * len(lines)
    early = order.early if order else []
    left = [sold for _, _, sold in early]
    for same_location in (True, False):
        for i, line in enumerate(lines):
            for j, (sku, location, _) in enumerate(early):
                if sku == line.sku and (not same_location or location == line.location):
                    matched = min(wanted[i] - units[i], left[j])
                    units[i] += matched
                    left[j] -= matched
    return units, [
        (sku, location, rest)
        for (sku, location, _), rest in zip(early, left, strict=True)
        if rest > 0
    ]


def are_terms_of(terms: Terms | None, reservation: Reservation) -> bool:
    """Whether terms were made for the reservation as it is."""
    return (
        terms is not None
        and terms.channel == reservation.channel
        and terms.generation == reservation.generation
        and [(line.line_id, line.sku, line.location) for line in terms.lines]
        == [(line.line_id, line.sku, line.location) for line in reservation.lines]
    )


def confirm(b: Batch, command: Confirm, known: Reservation) -> Outcome:
    """The customer of a late confirm has paid: a name that was deleted does not refuse it."""
    reservation_id = command.reservation_id
    if known.order_id:
        same = known.order_id == command.order_id
        if same:
            return answer(b, Repeated, reservation_id)
        return AlreadyConfirmed(deepcopy(known))
    if known.status == "released":
        return WrongStatus(deepcopy(known))
    expired = known.status == "expired"
    units = [line.lapsed if expired else line.reserved for line in known.lines]
    early, left_early = early_units(order_now(b, command.order_id), known.lines, units)
    if expired:
        wanted = []
        terms = command.terms if are_terms_of(command.terms, known) else None
        for i, line in enumerate(known.lines):
            if line.lapsed > early[i]:
                if terms is None:
                    return TermsNeeded(deepcopy(known))
                of_line = terms.lines[i]
                wanted.append(
                    HoldLine(
                        line_id=line.line_id,
                        sku=line.sku,
                        location=line.location,
                        quantity=line.lapsed - early[i],
                        safety_stock=of_line.safety_stock,
                        refused=of_line.refused,
                    )
                )
        reason, refused_lines = refused(b, wanted, UNKNOWN + 1)
        if reason:
            return ReservationLost(refused_lines)
        _, shortages, more = allot_after_reaping(b, wanted, (), False)
        if shortages:
            b.begin()
            return Again() if more else ReservationLost(shortages)
    reservation = touch_reservation(b, reservation_id)
    for line, held, sold in zip(reservation.lines, units, early, strict=True):
        if held > 0:
            level = touch_level(b, level_field(line.sku, line.location))
            level.reserved -= held - sold if expired else held
            level.allocated += held - sold
            line.reserved = line.lapsed = 0
            line.allocated += held - sold
            line.fulfilled += sold
    reservation.order_id = command.order_id
    reservation.outcome = "reacquired" if expired else "kept"
    order = touch_order(b, command.order_id)
    order.reservations.append(reservation_id)
    order.early, order.kept_until = left_early, 0
    if reservation.status != "fulfilled":
        reservation.status, reservation.expires_at = "confirmed", 0
        reservation.closed_at = reservation.kept_until = 0
        close_when_done(b, reservation)
    return settle(b, Confirmed, command)


def chosen(
    reservation: Reservation, lines: Sequence[LineUnits] | None
) -> tuple[list[int], list[Excess]]:
    """Which units of which lines are meant; the excesses where there are not so many."""
    units = [
        0 if lines is not None else open_units(reservation, line) for line in reservation.lines
    ]
    places = {line.line_id: i for i, line in enumerate(reservation.lines)}
    excesses = []
    for wanted in lines or ():
        place = places.get(wanted.line_id)
        left = -1 if place is None else open_units(reservation, reservation.lines[place])
        if place is None or wanted.quantity > left:
            excesses.append(Excess(wanted.line_id, wanted.quantity, left))
        else:
            units[place] = wanted.quantity
    return units, excesses


def take_off(b: Batch, line: Line, units: int) -> None:
    """Units leave a line, and what their level has promised falls with them; of a lapsed line no
    level has promised anything any more.
    """
    if line.lapsed > 0:
        line.lapsed -= units
        return
    level = touch_level(b, level_field(line.sku, line.location))
    if line.reserved > 0:
        level.reserved -= units
        line.reserved -= units
    else:
        level.allocated -= units
        line.allocated -= units


def release(b: Batch, command: Release, known: Reservation) -> Outcome:
    """What is given back of an expired reservation no late confirm takes again."""
    if not has_open_units(known):
        return answer(b, Repeated, command.reservation_id)
    units, excesses = chosen(known, command.lines)
    if excesses:
        return QuantityNotOpen(excesses)
    reservation = touch_reservation(b, command.reservation_id)
    for line, given_back in zip(reservation.lines, units, strict=True):
        if given_back > 0:
            take_off(b, line, given_back)
            line.released += given_back
    close_when_done(b, reservation)
    return settle(b, Changed, command)
