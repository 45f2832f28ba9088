"""Units of reservations leave: fulfil, no-pick, and sales and shipments that name what they fulfil.

Mirrors `lua/fulfilment.lua`.
"""

from collections.abc import Sequence
from copy import deepcopy

from atp_service.inventory.commands import NO_PICK_STATES, Fulfil, LineUnits, NoPick, Sale
from atp_service.inventory.journal import Notice
from atp_service.inventory.model.deadlines import order_now, reservation_now
from atp_service.inventory.model.reservations import (
    answer,
    chosen,
    close_when_done,
    open_units,
    settle,
    take_off,
)
from atp_service.inventory.model.stock import (
    EARLY_KEPT,
    Batch,
    append_entry,
    change_state,
    is_seen,
    mark_seen,
    move_on_hand,
    reservation_of,
    shipment_key,
    touch_level,
    touch_order,
    touch_reservation,
)
from atp_service.inventory.outcomes import (
    Absorbed,
    Applied,
    Changed,
    Duplicate,
    Outcome,
    QuantityNotOpen,
    Repeated,
    WrongStatus,
)
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import level_field


def lines_to_fulfil(b: Batch, command: Fulfil, reservation: Reservation) -> list[LineUnits]:
    """The lines a fulfil means. A shipment leaves once: what it has taken before is not meant
    again, nor what was told of it before the confirm, when only the order was known: that has left
    already.
    """
    shipped = set()
    for line in reservation.lines:
        origin = command.location or line.location
        if command.shipment_id:
            known = command.shipment_id, line.sku, origin
            early = line.fulfilled > 0 and is_seen(b, shipment_key(*known, reservation.order_id))
            if early or is_seen(b, shipment_key(*known, command.reservation_id)):
                shipped.add(line.line_id)
    wanted = command.lines
    if wanted is None:
        wanted = [
            LineUnits(line_id=line.line_id, quantity=line.allocated)
            for line in reservation.lines
            if line.allocated > 0
        ]
    return [line for line in wanted if line.line_id not in shipped]


def fulfil(b: Batch, command: Fulfil, known: Reservation) -> Outcome:
    if known.status not in ("confirmed", "fulfilled"):
        return WrongStatus(deepcopy(known))
    wanted = lines_to_fulfil(b, command, known)
    if not wanted:
        return answer(b, Repeated, command.reservation_id)
    units, excesses = chosen(known, wanted)
    if excesses:
        return QuantityNotOpen(excesses)
    reservation = touch_reservation(b, command.reservation_id)
    for line, leaving in zip(reservation.lines, units, strict=True):
        if leaving > 0:
            origin = command.location or line.location
            take_off(b, line, leaving)
            line.fulfilled += leaving
            move_on_hand(b, touch_level(b, level_field(line.sku, origin)), -leaving)
            if command.shipment_id:
                key = shipment_key(command.shipment_id, line.sku, origin, command.reservation_id)
                mark_seen(b, key)
    close_when_done(b, reservation)
    return settle(b, Changed, command)


def no_pick(b: Batch, command: NoPick, known: Reservation) -> Outcome:
    if known.status not in ("confirmed", "held"):
        return WrongStatus(deepcopy(known))
    wanted = [LineUnits(line_id=command.line_id, quantity=command.quantity)]
    units, excesses = chosen(known, wanted)
    if excesses:
        return QuantityNotOpen(excesses)
    reservation = touch_reservation(b, command.reservation_id)
    for line, missing in zip(reservation.lines, units, strict=True):
        if missing > 0:
            take_off(b, line, missing)
            line.released += missing
            name = level_field(line.sku, line.location)
            level = touch_level(b, name)
            if command.reason == "not_in_stock":
                move_on_hand(b, level, -missing)
            else:
                change_state(b, level, name, NO_PICK_STATES[command.reason], missing)
    close_when_done(b, reservation)
    return settle(b, Changed, command)


def named_reservations(b: Batch, command: Sale) -> list[str]:
    """The reservations a fact names, as of now: its own, else its order's."""
    if command.reservation_id and reservation_now(b, command.reservation_id):
        return [command.reservation_id]
    order = order_now(b, command.order_id) if command.order_id else None
    return [name for name in (order.reservations if order else ()) if reservation_now(b, name)]


def shipment_keys(command: Sale, ids: Sequence[str]) -> list[str]:
    """Under what a fact's shipment is remembered: the reservations it is for, else what it names:
    one truck carries goods for many.
    """
    return [
        shipment_key(command.shipment_id or "", command.sku, command.location, holder)
        for holder in ids or [command.order_id or command.reservation_id or ""]
    ]


def has_left(b: Batch, command: Sale, ids: Sequence[str]) -> bool:
    """Whether these units have left with this shipment before, also when known by order alone."""
    return any(is_seen(b, key) for key in shipment_keys(command, ids) + shipment_keys(command, ()))


def remember_early(b: Batch, command: Sale, units: int) -> None:
    """Units sold for an order before its confirm wait for it, summed by SKU and location."""
    order = touch_order(b, command.order_id or "")
    if not order.reservations:
        order.kept_until = b.now + b.partition.window_ms
    for i, (sku, location, sold) in enumerate(order.early):
        if (sku, location) == (command.sku, command.location):
            order.early[i] = (sku, location, sold + units)
            return
    if len(order.early) < EARLY_KEPT:
        order.early.append((command.sku, command.location, units))


def sale(b: Batch, command: Sale) -> Outcome:
    """A sale or shipment: what named reservations hold of it is fulfilled, lines in order, those
    held at the same location first; the rest is a plain sale. Facts are never refused.
    """
    ids = named_reservations(b, command)
    if command.shipment_id and has_left(b, command, ids):
        return Duplicate()
    rest, of_sku, fulfilled_before = command.quantity, False, False
    for here in (True, False):
        for reservation_id in ids:
            known = reservation_of(b, reservation_id)
            for i, line in enumerate(known.lines if known else ()):
                if line.sku == command.sku and (line.location == command.location) == here:
                    units = min(rest, open_units(known, line))  # type: ignore[arg-type]
                    of_sku, fulfilled_before = True, fulfilled_before or line.fulfilled > 0
                    if units > 0:
                        mine = touch_reservation(b, reservation_id).lines[i]
                        take_off(b, mine, units)
                        mine.fulfilled += units
                        rest -= units
    for reservation_id in ids:
        staged = b.reservations.get(reservation_id)
        if staged and staged.status != "expired":
            close_when_done(b, staged)
    if rest == command.quantity and fulfilled_before:
        name = command.order_id or command.reservation_id or ""
        b.opened.append(Notice("already-fulfilled", command.sku, command.location, name, rest))
    elif command.order_id and not of_sku:
        remember_early(b, command, rest)
    level = touch_level(b, level_field(command.sku, command.location))
    moved = move_on_hand(b, level, -command.quantity, command.occurred_at_ms)
    if command.shipment_id:
        for key in shipment_keys(command, ids):
            mark_seen(b, key)
    append_entry(b, command, "" if moved else "absorbed")
    return Applied(b.entry()) if moved else Absorbed(b.entry())
