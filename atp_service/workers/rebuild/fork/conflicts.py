"""What a fork had acknowledged and can't be applied again: exceptions that name the order."""

from collections.abc import Mapping
from typing import Final

import msgspec

from atp_service.inventory import outcomes
from atp_service.inventory.commands import AnyCommand, Park, decode_command
from atp_service.inventory.journal import ORDER, RESERVATION, DecodedEntry
from atp_service.inventory.notices import FORK_CONFLICT, owner_of
from atp_service.inventory.outcomes import Outcome
from atp_service.ledger.rebuilds import ForkEntry, Missing

SOURCE: Final = "atp/rebuild"

_DETAIL_CHARACTERS: Final = 1_000


def refused(
    entry: ForkEntry, command: AnyCommand, outcome: Outcome, order_id: str | None, now_ms: int
) -> Park:
    """A command that no longer fits; `order_id` is the one that its reservation is for."""
    reservation_id = str(getattr(command, "reservation_id", None) or "")
    order_id = getattr(command, "order_id", None) or order_id
    kind = str(command.__struct_config__.tag)
    subject = str(order_id or reservation_id or kind)
    of_order = f" (order {order_id})" if order_id else ""
    return _park(
        f"{entry.epoch}:{entry.seq}",
        subject,
        f"{kind} of {reservation_id or subject}{of_order} was acknowledged by a Redis that is "
        f"lost, and no longer fits: {_words(outcome)}",
        msgspec.json.encode(decode_command(entry.command)).decode(),
        now_ms,
        entry.digest,
    )


def unreadable(
    entry: ForkEntry, decoded: DecodedEntry, order_of: Mapping[str, str], now_ms: int
) -> Park:
    """An entry whose command can't be read; what it touched may be known."""
    order_ids, reservation_ids = decoded.entry.keys(ORDER), decoded.entry.keys(RESERVATION)
    orders = [*order_ids, *(order_of[i] for i in reservation_ids if i in order_of)]
    subject = next(iter([*orders, *reservation_ids]), f"entry {entry.seq}")
    touched = ", ".join([*order_ids, *reservation_ids]) or "nobody knows what"
    return _park(
        f"{entry.epoch}:{entry.seq}",
        subject,
        f"entry {entry.seq} of a Redis that is lost can't be read, and is not applied again; it "
        f"touched {touched}",
        entry.command.hex(),
        now_ms,
        entry.digest,
    )


def missing(lost: Missing, now_ms: int) -> Park:
    """Entries that the fork itself had lost."""
    return _park(
        f"missing:{lost.first}:{lost.before[:16]}",
        f"entries {lost.first}-{lost.last}",
        f"entries {lost.first} to {lost.last} of a Redis that is lost were missing from its "
        "journal: what they had acknowledged is not applied again",
        "",
        now_ms,
        None,
    )


def _park(
    event_id: str, subject: str, detail: str, payload: str, now_ms: int, forked: str | None
) -> Park:
    return Park(
        source=SOURCE,
        event_id=event_id,
        occurred_at_ms=now_ms,
        reason=FORK_CONFLICT,
        owner=owner_of(FORK_CONFLICT),
        subject=subject,
        detail=detail[:_DETAIL_CHARACTERS],
        payload=payload,
        forked=forked,
    )


def _words(outcome: Outcome) -> str:
    match outcome:
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
