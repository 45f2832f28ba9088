"""One batch: decide each command by itself, write everything once. Mirrors `lua/batch.lua`."""

from collections.abc import Callable, Sequence
from typing import Any

from atp_service.inventory.commands import AnyCommand
from atp_service.inventory.model import deadlines, facts, fulfilment, repair, reservations
from atp_service.inventory.model.stock import Batch, Partition, Refuse, caller_key, is_seen
from atp_service.inventory.outcomes import Faulted, NotFound, Outcome, Repeated, Unchanged

HANDLERS: dict[str, Callable[[Batch, Any], Outcome]] = {
    "hold": reservations.hold,
    "replace": reservations.replace,
    "extend": reservations.extend,
    "confirm": reservations.confirm,
    "release": reservations.release,
    "fulfil": fulfilment.fulfil,
    "no_pick": fulfilment.no_pick,
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


def apply(b: Batch, command: AnyCommand) -> Outcome:
    if getattr(command, "key", None) is not None:
        name = getattr(command, "reservation_id", None)
        known = deadlines.reservation_now(b, name) if name is not None else None
        if name is not None and known is None:
            return NotFound()
        if is_seen(b, caller_key(command, known) or ""):
            return Unchanged() if name is None else reservations.answer(b, Repeated, name)
    return HANDLERS[str(command.__struct_config__.tag)](b, command)


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
