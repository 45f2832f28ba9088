"""One batch: decide each command by itself, write everything once. Mirrors `lua/batch.lua`."""

from collections.abc import Callable, Sequence
from typing import Any

from atp_service.inventory.commands import AnyCommand, Fact, Heartbeat, Park
from atp_service.inventory.model import deadlines, facts, fulfilment, repair, reservations
from atp_service.inventory.model.stock import (
    Batch,
    Partition,
    Refuse,
    caller_key,
    event_key,
    hear,
    is_seen,
)
from atp_service.inventory.outcomes import (
    Duplicate,
    Faulted,
    NotFound,
    Outcome,
    Repeated,
    Unchanged,
)
from atp_service.inventory.reservations import Reservation

HANDLERS: dict[str, Callable[[Batch, Any], Outcome]] = {
    "hold": reservations.hold,
    "expire": deadlines.expire,
    "lapse": deadlines.lapse_one,
    "forget": deadlines.forget_some,
    "sale": fulfilment.sale,
    "shipment": fulfilment.sale,
    "return": facts.customer_return,
    "receipt": facts.receipt,
    "transfer_shipped": facts.transfer_shipped,
    "transfer_received": facts.transfer_received,
    "adjustment": facts.adjustment,
    "count": facts.count,
    "state_change": facts.state_change,
    "incoming": facts.incoming,
    "heartbeat": facts.heartbeat,
    "safety_stock": facts.safety_stock,
    "park": facts.park,
    "snapshot": facts.snapshot,
    "snapshot_closed": facts.snapshot_closed,
    "repair_level": repair.repair_level,
    "repair_reservation": repair.repair_reservation,
    "repair_order": repair.repair_order,
}


# Commands about a reservation that must exist: their handlers get it as it is now.
HANDLERS_OF_RESERVATION: dict[str, Callable[[Batch, Any, Reservation], Outcome]] = {
    "replace": reservations.replace,
    "extend": reservations.extend,
    "confirm": reservations.confirm,
    "release": reservations.release,
    "fulfil": fulfilment.fulfil,
    "no_pick": fulfilment.no_pick,
}


def is_repeated_fact(b: Batch, command: Fact) -> bool:
    """A fact happens once. A message that is parked doesn't make its feed any fresher."""
    if not isinstance(command, Heartbeat) and is_seen(b, event_key(command)):
        return True
    if not isinstance(command, Park):
        hear(b, command)
    return False


def apply(b: Batch, command: Any) -> Outcome:
    """Decide one command."""
    if isinstance(command, Fact) and is_repeated_fact(b, command):
        return Duplicate()
    return decide(b, str(command.__struct_config__.tag), command)


def decide(b: Batch, kind: str, command: Any) -> Outcome:
    """What is known before a command is the same for all of a kind."""
    known = None
    if kind in HANDLERS_OF_RESERVATION:
        known = deadlines.reservation_now(b, command.reservation_id)
        if known is None:
            return NotFound()
    key = caller_key(command, known)
    if key is not None and is_seen(b, key):
        if known is None:
            return Unchanged()
        return reservations.answer(b, Repeated, command.reservation_id)
    if known is not None:
        return HANDLERS_OF_RESERVATION[kind](b, command, known)
    return HANDLERS[kind](b, command)


def decided(
    partition: Partition,
    commands: Sequence[AnyCommand],
    clock_ms: int,
    *,
    promises_refused: bool = False,
) -> tuple[Batch, list[Outcome]]:
    """A batch that is decided and not yet written, and its outcomes in order."""
    now = max(clock_ms, partition.time, partition.rotated_at)
    b = Batch(partition, now, promises_refused)
    outcomes: list[Outcome] = []
    for command in commands:
        try:
            outcomes.append(apply(b, command))
        except Refuse as refusal:
            b.begin()
            outcomes.append(Faulted(str(refusal)))
    return b, outcomes


def apply_batch(
    partition: Partition,
    commands: Sequence[AnyCommand],
    clock_ms: int,
    *,
    promises_refused: bool = False,
) -> list[Outcome]:
    """The outcomes of one batch, in order; `partition` is changed in place."""
    b, outcomes = decided(partition, commands, clock_ms, promises_refused=promises_refused)
    b.write()
    return outcomes
