"""Units that left a building on a fork, though the command that took them off no longer fits.

The ledger may have the order's reservation as released or expired, or not at all. But the goods are
gone, and would be sold once more. So facts take off the units that the entry took off.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import structs

from atp_service.inventory.commands import (
    NO_PICK_STATES,
    Adjustment,
    Fulfil,
    NoPick,
    Shipment,
    StateChange,
)
from atp_service.inventory.journal import LEVEL
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import split_field
from atp_service.workers.rebuild.fork.conflicts import SOURCE
from atp_service.workers.rebuild.fork.entry import Step

Departure = Shipment | Adjustment | StateChange


def departures(step: Step, known: Reservation | None, order_id: str | None) -> list[Departure]:
    """What the entry did to the stock itself, as facts; `known` is the ledger's reservation.

    Their ids come from the entry, so that they happen once. The last one marks the entry as done.
    """
    found: list[Departure] = []
    if not step.decoded.head.kind:
        return found  # the head can't be read
    match step.command:
        case Fulfil() as command:
            found.extend(_shipments(step, command, known, order_id))
        case NoPick(reason=reason) as command if reason in NO_PICK_STATES:
            found.extend(_unfit(step, command))
        case NoPick():
            found.extend(_missing(step))
    if found:
        found[-1] = structs.replace(found[-1], forked=step.entry.digest)
    return found


def _shipments(
    step: Step, command: Fulfil, known: Reservation | None, order_id: str | None
) -> Iterator[Shipment]:
    """Shipments with their own id: the carrier's event of one may still come, and is known then."""
    forked = step.decoded.reservations.get(command.reservation_id)
    # Units that the ledger has as fulfilled may be the same ones, so they are not taken off twice.
    left = _fulfilled(forked)
    left.subtract(_fulfilled(known))
    for place, (sku, location, delta) in enumerate(_on_hand_changes(step)):
        units = -delta if forked is None else min(-delta, left[sku])
        if units > 0:
            left[sku] -= units
            yield Shipment(
                **_envelope(step, place),
                sku=sku,
                location=location,
                quantity=units,
                order_id=order_id,
                reservation_id=command.reservation_id,
                shipment_id=command.shipment_id,
                document=command.erp_document,
            )


def _unfit(step: Step, command: NoPick) -> Iterator[StateChange]:
    """Units that can't be sold as they are."""
    forked = step.decoded.reservations.get(command.reservation_id)
    lines = [line for line in forked.lines if line.line_id == command.line_id] if forked else []
    for place, line in enumerate(lines):
        yield StateChange(
            **_envelope(step, place),
            sku=line.sku,
            location=line.location,
            quantity=command.quantity,
            from_state="sellable",
            to_state=NO_PICK_STATES[command.reason],
        )


def _missing(step: Step) -> Iterator[Adjustment]:
    """Units that were not there."""
    entry = f"{step.entry.epoch}:{step.entry.seq}"
    for place, (sku, location, delta) in enumerate(_on_hand_changes(step)):
        if delta:
            yield Adjustment(
                **_envelope(step, place),
                sku=sku,
                location=location,
                quantity=delta,
                reason=f"fork-conflict {entry}: no-pick of {step.reservation_id}",
            )


def _on_hand_changes(step: Step) -> Iterator[tuple[str, str, int]]:
    """SKU, location and units by which the entry changed on_hand, level by level."""
    names = step.decoded.entry.keys(LEVEL)
    for name, delta in zip(names, step.decoded.head.on_hand_deltas, strict=False):
        yield *split_field(name), delta


def _fulfilled(reservation: Reservation | None) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in reservation.lines if reservation else ():
        units[line.sku] += line.fulfilled
    return units


def _envelope(step: Step, place: int) -> dict[str, Any]:
    entry = step.entry
    return {
        "source": SOURCE,
        "event_id": f"departed:{entry.seq}:{entry.digest[:16]}:{place}",
        "occurred_at_ms": step.decoded.head.at_ms,
    }
