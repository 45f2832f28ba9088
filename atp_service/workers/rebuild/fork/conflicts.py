"""Exceptions for the entries of a fork that can't be applied again; each names the order."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import structs

from atp_service.inventory import outcomes
from atp_service.inventory.commands import Park, decode_command
from atp_service.inventory.journal import ORDER, RESERVATION, DecodedEntry
from atp_service.inventory.notices import FORK_CONFLICT, owner_of
from atp_service.inventory.outcomes import Outcome
from atp_service.ledger.rebuilds import ForkEntry, Missing
from atp_service.workers.rebuild.fork.entry import Step

SOURCE: Final = "atp/rebuild"

_DETAIL_CHARACTERS: Final = 1_000


def refused(step: Step, outcome: Outcome, order_id: str | None, now_ms: int) -> Park:
    """A command that no longer fits; `order_id` is the one that its reservation is for."""
    command = step.command
    order_id = getattr(command, "order_id", None) or order_id
    kind = str(command.__struct_config__.tag)
    subject = str(order_id or step.reservation_id or kind)
    of_order = f" (order {order_id})" if order_id else ""
    detail = (
        f"{kind} of {step.reservation_id or subject}{of_order} was acknowledged by a Redis that is "
        f"lost, and no longer fits: {_reason(outcome)}"
    )
    payload = msgspec.json.encode(decode_command(step.entry.command)).decode()
    return _park_entry(step.entry, subject, detail, payload, now_ms)


def unreadable(
    entry: ForkEntry, decoded: DecodedEntry, order_of: Callable[[str], str | None], now_ms: int
) -> Park:
    """An entry whose command can't be read; the names of what it touched may be known."""
    order_ids, reservation_ids = decoded.entry.keys(ORDER), decoded.entry.keys(RESERVATION)
    orders = [*order_ids, *filter(None, map(order_of, reservation_ids))]
    subject = next(iter([*orders, *reservation_ids]), f"entry {entry.seq}")
    touched = ", ".join([*order_ids, *reservation_ids]) or "unknown things"
    detail = (
        f"entry {entry.seq} of a Redis that is lost can't be read, and is not applied again; it "
        f"touched {touched}"
    )
    return _park_entry(entry, subject, detail, entry.command.hex(), now_ms)


def missing(lost: Missing, now_ms: int) -> Park:
    """Entries that the fork itself had lost."""
    detail = (
        f"entries {lost.first} to {lost.last} of a Redis that is lost were missing from its "
        "journal: what they had acknowledged is not applied again"
    )
    event_id = f"missing:{lost.first}:{lost.before[:16]}"
    return _park(event_id, f"entries {lost.first}-{lost.last}", detail, "", now_ms)


def _park_entry(entry: ForkEntry, subject: str, detail: str, payload: str, now_ms: int) -> Park:
    park = _park(f"{entry.epoch}:{entry.seq}", subject, detail, payload, now_ms)
    return structs.replace(park, forked=entry.digest)


def _park(event_id: str, subject: str, detail: str, payload: str, now_ms: int) -> Park:
    return Park(
        source=SOURCE,
        event_id=event_id,
        occurred_at_ms=now_ms,
        reason=FORK_CONFLICT,
        owner=owner_of(FORK_CONFLICT),
        subject=subject,
        detail=detail[:_DETAIL_CHARACTERS],
        payload=payload,
    )


def _reason(outcome: Outcome) -> str:
    match outcome:
        case outcomes.Refused(lines):
            return "; ".join(f"{s.sku} at {s.location}: {s.refused}" for s in lines)
        case outcomes.InsufficientStock(shortages) | outcomes.ReservationLost(shortages):
            return "; ".join(
                f"{s.sku} at {s.location}: {s.requested} wanted, {s.available} left"
                for s in shortages
            )
        case outcomes.QuantityNotOpen(excesses):
            return "; ".join(
                f"line {e.line_id}: {e.requested} named, {max(0, e.open)} open" for e in excesses
            )
        case outcomes.AlreadyConfirmed(reservation):
            return f"it is confirmed with order {reservation.order_id}"
        case outcomes.WrongStatus(reservation):
            return f"it is {reservation.status}"
        case outcomes.GenerationMismatch(reservation):
            return f"its lines are of generation {reservation.generation}"
        case outcomes.NotFound():
            return "there is no such reservation"
        case outcomes.ReservationIdReused():
            return "the reservation has other lines"
        case outcomes.Faulted(message):
            return message
        case _:
            return type(outcome).__name__
