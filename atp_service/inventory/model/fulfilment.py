"""Units of reservations leave: fulfil, no-pick, and sales and shipments that name what they fulfil.

Mirrors `lua/fulfilment.lua`.
"""

from copy import deepcopy

from atp_service.inventory.commands import Fulfil, LineUnits, NoPick, Sale
from atp_service.inventory.journal import Notice
from atp_service.inventory.model.lapses import reservation_now
from atp_service.inventory.model.reservations import (
    answer,
    chosen,
    close_when_done,
    settle,
    take_off,
)
from atp_service.inventory.model.stock import (
    Batch,
    append_entry,
    change_state,
    event_key,
    hear,
    is_seen,
    mark_seen,
    move_on_hand,
    order_of,
    set_deadline,
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
    NotFound,
    Outcome,
    Repeated,
    TooMany,
    WrongStatus,
)
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import level_field


def lines_to_fulfil(b: Batch, command: Fulfil, reservation: Reservation) -> list[LineUnits]:
    """The lines a fulfil means. A shipment leaves once: what it took before is not meant again."""
    shipped = {
        line.line_id
        for line in reservation.lines
        if command.shipment_id
        and is_seen(
            b, shipment_key(command.shipment_id, line.sku, command.location or line.location)
        )
    }
    wanted = command.lines
    if wanted is None:
        wanted = [
            LineUnits(line_id=line.line_id, quantity=line.allocated)
            for line in reservation.lines
            if line.allocated > 0
        ]
    return [line for line in wanted if line.line_id not in shipped]


def fulfil(b: Batch, command: Fulfil) -> Outcome:
    known = reservation_now(b, command.reservation_id)
    if not known:
        return NotFound()
    if known.status not in ("confirmed", "fulfilled"):
        return WrongStatus(deepcopy(known))
    wanted = lines_to_fulfil(b, command, known)
    if not wanted:
        return answer(b, Repeated, command.reservation_id)
    units, excesses = chosen(known, wanted)
    if excesses:
        return TooMany(excesses)
    reservation = touch_reservation(b, command.reservation_id)
    for line, leaving in zip(reservation.lines, units, strict=True):
        if leaving > 0:
            origin = command.location or line.location
            take_off(b, line, leaving)
            line.fulfilled += leaving
            move_on_hand(touch_level(b, level_field(line.sku, origin)), -leaving, b.now)
            if command.shipment_id:
                mark_seen(b, shipment_key(command.shipment_id, line.sku, origin))
    close_when_done(b, command.reservation_id, reservation)
    return settle(b, Changed, command)


# What the store's reason makes of units it can't hand over: gone, or there but not to be sold.
NO_PICK_STATES = {"mismatch": "quarantine", "damaged": "damaged", "display_worn": "display_worn"}


def no_pick(b: Batch, command: NoPick) -> Outcome:
    known = reservation_now(b, command.reservation_id)
    if not known:
        return NotFound()
    if known.status not in ("confirmed", "held"):
        return WrongStatus(deepcopy(known))
    wanted = [LineUnits(line_id=command.line_id, quantity=command.quantity)]
    units, excesses = chosen(known, wanted)
    if excesses:
        return TooMany(excesses)
    reservation = touch_reservation(b, command.reservation_id)
    for line, missing in zip(reservation.lines, units, strict=True):
        if missing > 0:
            level = take_off(b, line, missing)
            line.released += missing
            if command.reason == "not_in_stock":
                move_on_hand(level, -missing, b.now)
            else:
                name = level_field(line.sku, line.location)
                change_state(b, level, name, NO_PICK_STATES[command.reason], missing)
    close_when_done(b, command.reservation_id, reservation)
    return settle(b, Changed, command)


def named_reservations(b: Batch, command: Sale) -> list[str]:
    """The reservations a fact names, as of now: its own, else its order's."""
    if command.reservation_id and reservation_now(b, command.reservation_id):
        return [command.reservation_id]
    order = order_of(b, command.order_id) if command.order_id else None
    return [name for name in (order.reservations if order else ()) if reservation_now(b, name)]


def sale(b: Batch, command: Sale) -> Outcome:
    """A sale or shipment: what named reservations hold of it is fulfilled, lines in order, those
    held at the same location first; the rest is a plain sale. Facts are never refused.
    """
    if is_seen(b, event_key(command)):
        return Duplicate()
    hear(b, command)
    shipment = None
    if command.shipment_id:
        shipment = shipment_key(command.shipment_id, command.sku, command.location)
        if is_seen(b, shipment):
            return Duplicate()
    ids = named_reservations(b, command)
    rest, fulfilled_before = command.quantity, False
    for here in (True, False):
        for reservation_id in ids:
            known = b.reservations.get(reservation_id) or b.partition.reservations[reservation_id]
            holds = known.status in ("held", "confirmed")
            for i, line in enumerate(known.lines):
                if line.sku == command.sku and (line.location == command.location) == here:
                    units = min(rest, line.open if holds else 0)
                    fulfilled_before = fulfilled_before or line.fulfilled > 0
                    if units > 0:
                        mine = touch_reservation(b, reservation_id).lines[i]
                        take_off(b, mine, units)
                        mine.fulfilled += units
                        rest -= units
    for reservation_id in ids:
        if reservation_id in b.reservations:
            close_when_done(b, reservation_id, b.reservations[reservation_id])
    if rest == command.quantity and fulfilled_before:
        name = command.order_id or command.reservation_id or ""
        b.opened.append(Notice("already-fulfilled", command.sku, command.location, name, rest))
    elif command.order_id and not ids:
        touch_order(b, command.order_id).early.append((command.sku, command.location, rest))
        set_deadline(b, f"o{command.order_id}", b.now + b.partition.window_ms)
    level = touch_level(b, level_field(command.sku, command.location))
    moved = move_on_hand(level, -command.quantity, command.occurred_at_ms)
    mark_seen(b, event_key(command))
    if shipment:
        mark_seen(b, shipment)
    append_entry(b, command)
    return Applied(b.partition.seq) if moved else Absorbed(b.partition.seq)
