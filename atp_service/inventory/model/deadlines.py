"""Deadlines: holds that lapse, and what is forgotten when its window has passed.

Mirrors `lua/deadlines.lua`.
"""

from atp_service.inventory.commands import Expire, Lapse
from atp_service.inventory.model.stock import (
    WORK_A_CALL,
    Batch,
    Refuse,
    append_entry,
    order_of,
    reservation_of,
    set_deadline,
    touch_level,
    touch_reservation,
)
from atp_service.inventory.outcomes import Outcome, Swept, Unchanged
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.stock import level_field

DUE_READ = 101
REAPED_FOR_PROMISES = 50
DAMAGED_REST_MS = 60_000


def lapse(b: Batch, reservation_id: str) -> None:
    """The deadline has passed: units go back; the lines stay, for a late confirm."""
    b.begin()
    reservation = touch_reservation(b, reservation_id)
    for line in reservation.lines:
        if line.reserved > 0:
            touch_level(b, level_field(line.sku, line.location)).reserved -= line.reserved
            line.lapsed, line.reserved = line.reserved, 0
    reservation.status, reservation.closed_at = "expired", b.now
    set_deadline(b, f"r{reservation_id}", b.now + b.partition.window_ms)
    append_entry(b, Lapse(reservation_id=reservation_id))


def forget_reservation(b: Batch, reservation_id: str) -> None:
    """A closed reservation is forgotten, and with its last one the order."""
    reservation = b.partition.reservations[reservation_id]
    order = order_of(b, reservation.order_id) if reservation.order_id else None
    if order:
        kept = [other for other in order.reservations if other != reservation_id]
        if kept:
            b.partition.orders[reservation.order_id] = Order(kept, order.early)
        else:
            del b.partition.orders[reservation.order_id]
    del b.partition.reservations[reservation_id]
    b.new_deadlines[f"r{reservation_id}"] = None


def forget_order(b: Batch, order_id: str) -> None:
    """Units sold for an order that was never confirmed here are no longer waited for."""
    b.partition.orders.pop(order_id, None)
    b.new_deadlines[f"o{order_id}"] = None


def has_lapsed(b: Batch, reservation: Reservation) -> bool:
    return reservation.status == "held" and reservation.expires_at <= b.now


def is_forgotten(b: Batch, reservation: Reservation) -> bool:
    closed = reservation.status not in ("held", "confirmed")
    return closed and reservation.closed_at + b.partition.window_ms <= b.now


def reservation_now(b: Batch, reservation_id: str) -> Reservation | None:
    """The reservation as of now: a deadline that has passed counts, reaped or not."""
    reservation = reservation_of(b, reservation_id)
    if reservation and has_lapsed(b, reservation):
        lapse(b, reservation_id)
    elif reservation and is_forgotten(b, reservation):
        forget_reservation(b, reservation_id)
    return reservation_of(b, reservation_id)


def meet_deadline(b: Batch, member: str) -> None:
    """What a deadline means depends on what stands behind it now."""
    name = member[1:]
    if member[0] == "o":
        order = order_of(b, name)
        if order and order.reservations:
            b.new_deadlines[member] = None
        else:
            forget_order(b, name)
        return
    reservation = reservation_of(b, name)
    if reservation is None or reservation.status == "confirmed":
        b.new_deadlines[member] = None
    elif has_lapsed(b, reservation):
        lapse(b, name)
    elif is_forgotten(b, reservation):
        forget_reservation(b, name)
    else:
        held = reservation.status == "held"
        closed_until = reservation.closed_at + b.partition.window_ms
        b.new_deadlines[member] = reservation.expires_at if held else closed_until


def reap(b: Batch, limit: int) -> tuple[int, bool]:
    """Reap what is due, earliest first, at most `limit` and until the call has done enough: how
    many, and whether more are due.
    """
    if b.due is None:
        deadlines = b.partition.deadlines.items()
        due = sorted((at, member.encode()) for member, at in deadlines if at <= b.now)
        b.due = [member.decode() for _, member in due[:DUE_READ]]
    reaped = 0
    while reaped < limit and b.due_place < len(b.due) and b.work < WORK_A_CALL:
        member = b.due[b.due_place]
        b.due_place += 1
        # The batch may have moved the deadline since: what it has in hand decides.
        if member not in b.new_deadlines:
            try:
                meet_deadline(b, member)
            except Refuse:
                # Something behind it is damaged. Nobody waits for that: it is looked at later.
                b.begin()
                b.new_deadlines[member] = b.now + DAMAGED_REST_MS
            reaped += 1
    # All that was read is met: there may be more that was not read.
    return reaped, b.due_place < len(b.due) or len(b.due) == DUE_READ


def reap_for_promise(b: Batch) -> bool:
    """Before a promise is refused: give back what has lapsed. Whether more are due."""
    reaped, more = reap(b, REAPED_FOR_PROMISES - b.reaped_for_promises)
    b.reaped_for_promises += reaped
    return more


def expire(b: Batch, command: Expire) -> Outcome:
    return Swept(*reap(b, command.limit))


def lapse_one(b: Batch, command: Lapse) -> Outcome:
    reservation_now(b, command.reservation_id)
    return Unchanged()
