"""The answer for each outcome of a promise."""

from collections.abc import Sequence
from typing import Literal

import structlog
from msgspec import UNSET

from atp_service.api.problems import ProblemLine, ShortLine, invalid, problem, unknown_channel
from atp_service.api.reservations.documents import confirmed_document, document
from atp_service.api.responses import REPLAYED, Answer
from atp_service.inventory import outcomes
from atp_service.inventory.outcomes import Excess, Shortage
from atp_service.promises import Promise, UnknownName
from atp_service.promises.requests import LineUnitsRequest

log = structlog.get_logger(__name__)

WrongStatusSlug = Literal["reservation-not-held", "reservation-not-confirmed"]


def answer(
    promise: Promise,
    *,
    held: int = 201,
    confirming: bool = False,
    wrong_status: WrongStatusSlug = "reservation-not-held",
    named: Sequence[LineUnitsRequest] | None = None,
) -> Answer:
    """The answer; `held` is its status if units are held anew, `named` the lines asked for."""
    reservation_id, outcome = promise
    describe = confirmed_document if confirming else document
    match outcome:
        case outcomes.Held():
            return Answer(held, describe(reservation_id, outcome.reservation))
        case outcomes.Refused():
            return _refused(outcome.lines)
        case outcomes.InsufficientStock():
            return _short("insufficient-stock", outcome.shortages)
        case outcomes.Confirmed() | outcomes.Changed():
            return Answer(200, describe(reservation_id, outcome.reservation))
        case outcomes.Repeated():
            return Answer(200, describe(reservation_id, outcome.reservation), REPLAYED)
        case outcomes.ReservationLost():
            return _short("reservation-lost", outcome.shortages)
        case outcomes.ReservationIdReused():
            return problem(
                "reservation-id-reused",
                f"{reservation_id} has other lines, another channel or another customer.",
            )
        case outcomes.SpansPartitions():
            lines = [ProblemLine(line.line_id, line.sku, line.location) for line in outcome.lines]
            names = ", ".join(line.line_id for line in lines)
            detail = f"In another partition than the rest of the cart: line {names}."
            return problem("cart-spans-partitions", detail, lines=lines)
        case outcomes.NotFound():
            return no_reservation(reservation_id)
        case outcomes.WrongStatus():
            status = outcome.reservation.status
            detail = f"{reservation_id} is {status}."
            if status == "held" and wrong_status == "reservation-not-held":
                detail = f"Units of {reservation_id} have left: it can't be replaced any more."
            return problem(wrong_status, detail, reservation_status=status)
        case outcomes.GenerationMismatch():
            generation = outcome.reservation.generation
            return problem(
                "generation-mismatch",
                f"{reservation_id} is at generation {generation}.",
                generation=generation,
            )
        case outcomes.AlreadyConfirmed():
            order_id = outcome.reservation.order_id
            return problem(
                "already-confirmed",
                f"{reservation_id} is confirmed with order {order_id}.",
                order_id=order_id,
            )
        case outcomes.QuantityNotOpen():
            return _too_many(outcome.excesses, named)
        case UnknownName(kind="channel"):
            return unknown_channel(outcome.name)
        case UnknownName():
            return problem(
                "unknown-location",
                f"{outcome.name} is not known.",
                location=outcome.name,
                lines=[ProblemLine(line.line_id) for line in named or ()],
            )
        case outcomes.TermsNeeded():
            return problem(
                "unavailable",
                f"{reservation_id} changed each time its terms were looked up."
                " Nothing was changed.",
                retry_after=1,
            )
        case outcomes.NoRoom():
            return problem("overloaded", "Redis is nearly out of memory.", retry_after=5)
        case outcomes.Faulted():
            log.error("command_faulted", reservation_id=reservation_id, reason=outcome.message)
            return problem(
                "unavailable",
                "What stands in Redis of this can't be worked with until it is repaired."
                " Nothing was changed.",
                retry_after=5,
            )
        case _:
            raise TypeError(f"no promise ends in {outcome!r}")


def no_reservation(reservation_id: str) -> Answer:
    return problem("not-found", f"There is no reservation {reservation_id}.")


def _refused(refused: Sequence[Shortage]) -> Answer:
    """Lines that may not be promised; all have a reason of the same kind."""
    reason = refused[0].refused
    lines = [ProblemLine(line.line_id, line.sku, line.location) for line in refused]
    if reason in ("unknown_sku", "unknown_location"):
        names = ", ".join(line.line_id for line in refused)
        return problem(reason.replace("_", "-"), f"Not known, of line {names}.", lines=lines)
    if reason == "sku":
        names = ", ".join(line.sku for line in refused)
        return problem("sku-unavailable", f"Not sold any more: {names}.", lines=lines)
    reasons = ", ".join(f"{line.location} ({line.refused})" for line in refused)
    return problem(
        "location-unavailable",
        f"Doesn't sell this now: {reasons}.",
        lines=[
            ProblemLine(line.line_id, line.sku, line.location, line.refused or UNSET)
            for line in refused
        ],
    )


def _short(slug: str, shortages: Sequence[Shortage]) -> Answer:
    lines = [
        ShortLine(s.line_id, s.sku, s.location, s.requested, s.available, s.refused or UNSET)
        for s in shortages
    ]
    count = len(lines)
    return problem(slug, f"{count} line{'s'[: count != 1]} can't be had in full.", shortages=lines)


def _too_many(excesses: Sequence[Excess], named: Sequence[LineUnitsRequest] | None) -> Answer:
    absent = {excess.line_id for excess in excesses if excess.open < 0}
    if absent:
        pointers = (
            ["/line_id"]
            if named is None
            else [f"/lines/{i}/line_id" for i, line in enumerate(named) if line.line_id in absent]
        )
        return invalid(*((pointer, "the reservation has no such line") for pointer in pointers))
    return problem(
        "quantity-not-open",
        "More units are named than are open.",
        lines=[ProblemLine(e.line_id, requested=e.requested, open=e.open) for e in excesses],
    )
