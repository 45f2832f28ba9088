"""Deadlines: holds that lapse, and what is forgotten when its window has passed.

Mirrors `lua/deadlines.lua`.
"""

from collections.abc import Sequence

from atp_service.inventory.commands import Expire, Forget, Lapse
from atp_service.inventory.model.stock import (
    WORK_A_CALL,
    Batch,
    Refuse,
    append_entry,
    order_of,
    put_order,
    put_reservation,
    reservation_of,
    touch_level,
    touch_order,
    touch_reservation,
)
from atp_service.inventory.outcomes import Outcome, Swept, Unchanged
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.retention import (
    has_lapsed,
    is_forgotten,
    order_due_at,
    reservation_due_at,
)
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
    reservation.kept_until = b.now + b.partition.window_ms
    append_entry(b, Lapse(reservation_id=reservation_id))


def forget(b: Batch, reservation_ids: Sequence[str], order_ids: Sequence[str]) -> None:
    """Closed reservations are forgotten, and with its last one an order; so are orders whose
    confirm is no longer waited for. Stock has no part in it.
    """
    b.begin()
    for name in reservation_ids:
        reservation = reservation_of(b, name)
        order_id = reservation.order_id if reservation else ""
        if order_id and order_of(b, order_id):
            order = touch_order(b, order_id)
            order.reservations = [other for other in order.reservations if other != name]
            if not order.reservations:
                put_order(b, order_id, None)
        put_reservation(b, name, None)
    for name in order_ids:
        put_order(b, name, None)
    append_entry(b, Forget(reservation_ids=list(reservation_ids), order_ids=list(order_ids)))


def is_abandoned(b: Batch, order: Order) -> bool:
    """The confirm of an order, of which units were sold before it, is not waited for any more."""
    return not order.reservations and order.kept_until <= b.now


def order_now(b: Batch, order_id: str) -> Order | None:
    """The order as of now: one that is no longer waited for is forgotten before anything is
    staged.
    """
    order = order_of(b, order_id)
    if order and is_abandoned(b, order):
        forget(b, (), [order_id])
    return order_of(b, order_id)


def reservation_now(b: Batch, reservation_id: str) -> Reservation | None:
    """The reservation as of now: a deadline that has passed counts, reaped or not."""
    reservation = reservation_of(b, reservation_id)
    if reservation and has_lapsed(reservation, b.now):
        lapse(b, reservation_id)
    elif reservation and is_forgotten(reservation, b.now):
        forget(b, [reservation_id], ())
    return reservation_of(b, reservation_id)


def meet_deadline(b: Batch, member: str, reservation_ids: list[str], order_ids: list[str]) -> None:
    """What a deadline means depends on what stands behind it now: a deadline that does not fit
    was changed by hand. Ids to be forgotten are added to the lists.
    """
    name = member[1:]
    if member[0] == "o":
        order = order_of(b, name)
        if order and is_abandoned(b, order):
            order_ids.append(name)
        else:
            b.new_deadlines[member] = order_due_at(order) if order else None
        return
    reservation = reservation_of(b, name)
    if reservation is None:
        b.new_deadlines[member] = None
    elif has_lapsed(reservation, b.now):
        lapse(b, name)
    elif is_forgotten(reservation, b.now):
        order_of(b, reservation.order_id)  # a damaged one fails here, and this one alone
        reservation_ids.append(name)
    else:
        b.new_deadlines[member] = reservation_due_at(reservation)


def reap(b: Batch, limit: int) -> tuple[int, bool]:
    """Reap what is due, earliest first, at most `limit` and until the call has done enough.

    Returns how many, and whether more are due. All that is forgotten makes one entry.
    """
    if b.due is None:
        deadlines = b.partition.deadlines.items()
        due = sorted((at, member.encode()) for member, at in deadlines if at <= b.now)
        b.due = [member.decode() for _, member in due[:DUE_READ]]
    reaped = 0
    reservation_ids: list[str] = []
    order_ids: list[str] = []
    while reaped < limit and b.due_place < len(b.due) and b.work < WORK_A_CALL:
        member = b.due[b.due_place]
        b.due_place += 1
        # The batch may have moved the deadline since: what it has in hand decides.
        if member not in b.new_deadlines:
            try:
                meet_deadline(b, member, reservation_ids, order_ids)
            except Refuse:
                # Something behind it is damaged. No caller waits for that: it is looked at later.
                b.begin()
                b.new_deadlines[member] = b.now + DAMAGED_REST_MS
            reaped += 1
    if reservation_ids or order_ids:
        forget(b, reservation_ids, order_ids)
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


def forget_some(b: Batch, command: Forget) -> Outcome:
    reservation_ids = [
        name
        for name in command.reservation_ids
        if (reservation := reservation_of(b, name)) and is_forgotten(reservation, b.now)
    ]
    order_ids = [
        name
        for name in command.order_ids
        if (order := order_of(b, name)) and is_abandoned(b, order)
    ]
    if reservation_ids or order_ids:
        forget(b, reservation_ids, order_ids)
    return Unchanged()
