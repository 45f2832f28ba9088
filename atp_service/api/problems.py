"""Every refusal and every fault a caller can see, as RFC 9457 problems; and nothing else.

The table below is the whole list. An answer's members stand in `Problem`, so that the schema has
no more and no less than what is sent.
"""

from collections.abc import Callable
from typing import Any

import structlog
from msgspec import UNSET, DecodeError, Struct, UnsetType
from msgspec.json import decode

from atp_service import store
from atp_service.api.error_pointers import located_in
from atp_service.api.responses import PROBLEM, Answer, Headers
from atp_service.ledger import NotRecorded
from atp_service.postgres import Unavailable

log = structlog.get_logger()

_PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request can't be read"),
    "invalid": (422, "A value is out of bounds or of the wrong type"),
    "unknown-sku": (422, "A SKU is not known"),
    "unknown-location": (422, "A location is not known"),
    "unknown-channel": (422, "The channel is not known"),
    "cart-spans-partitions": (422, "The cart's lines are in several partitions"),
    "reservation-id-reused": (422, "The reservation id belongs to another content"),
    "sku-unavailable": (409, "A SKU is not sold now"),
    "location-unavailable": (409, "A location doesn't sell this now"),
    "insufficient-stock": (409, "There are not enough units"),
    "reservation-not-held": (409, "The reservation is not held"),
    "reservation-not-confirmed": (409, "The reservation is not confirmed"),
    "reservation-lost": (409, "The hold has lapsed and its units are gone"),
    "already-confirmed": (409, "The reservation is confirmed with another order"),
    "quantity-not-open": (409, "More units are named than are open"),
    "generation-mismatch": (412, "The reservation has been replaced meanwhile"),
    "cross-origin": (403, "A web page of another origin changes nothing here"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The request took too long to arrive"),
    "too-large": (413, "The body is too large"),
    "uri-too-long": (414, "The address is too long"),
    "internal": (500, "Something failed on our side"),
    "overloaded": (503, "There is no room for more right now"),
    "unavailable": (503, "A part of the service is away"),
    "fenced": (503, "This Redis does not continue the ledger"),
}


class FieldError(Struct, frozen=True):
    """One field at fault: where it is (a JSON pointer) and what is wrong."""

    pointer: str
    message: str


class ShortLine(Struct, frozen=True):
    """A line that can't be held in full; `reason`: why none of it is sold now, if so."""

    line_id: str
    sku: str
    location: str
    requested: int
    available: int
    reason: str | UnsetType = UNSET


class ProblemLine(Struct, frozen=True):
    """A line the problem is about, with what matters of it."""

    line_id: str
    sku: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    requested: int | UnsetType = UNSET
    open: int | UnsetType = UNSET


class Problem(Struct, frozen=True, kw_only=True):
    """An RFC 9457 problem document. Which members come with which type: the API's contract."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | UnsetType = UNSET
    shortages: list[ShortLine] | UnsetType = UNSET
    lines: list[ProblemLine] | UnsetType = UNSET
    reservation_status: str | UnsetType = UNSET
    generation: int | UnsetType = UNSET
    order_id: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    results: list[Any] | UnsetType = UNSET
    ready: bool | UnsetType = UNSET
    dependencies: dict[str, Any] | UnsetType = UNSET


class Refused(Exception):
    """Breaks off a call from the depth of it, with the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.content.detail)
        self.answer = answer


def problem(slug: str, detail: str, *, retry_after: float | None = None, **members: Any) -> Answer:
    """The answer for a problem of the table."""
    status, title = _PROBLEMS[slug]
    headers: Headers = PROBLEM
    if retry_after is not None:
        headers = (*PROBLEM, (b"retry-after", b"%d" % max(1, round(retry_after))))
    content = Problem(
        type=f"urn:atp:problem:{slug}", title=title, status=status, detail=detail, **members
    )
    return Answer(status, content, headers)


def statuses(*slugs: str) -> dict[int, list[str]]:
    """The slugs by the status they are answered with."""
    found: dict[int, list[str]] = {}
    for slug in slugs:
        found.setdefault(_PROBLEMS[slug][0], []).append(slug)
    return found


def invalid(*errors: tuple[str, str]) -> Answer:
    """The answer for fields at fault, as (pointer, message)."""
    return problem(
        "invalid",
        "; ".join(f"{pointer}: {message}" if pointer else message for pointer, message in errors),
        errors=[FieldError(pointer, message) for pointer, message in errors],
    )


def unknown_channel(channel: str) -> Answer:
    return problem("unknown-channel", f"{channel} is not known.", channel=channel)


def too_large(limit: int) -> Answer:
    return problem("too-large", f"The body may have {limit} bytes.")


def no_body() -> Answer:
    return problem("malformed", "The call needs a body.")


def unreadable(body: bytes, error: Exception, read: Callable[[bytes], object]) -> Answer:
    """The answer for a body that `read` refused: malformed before invalid, whichever came first."""
    if not body:
        return no_body()
    try:
        document = decode(body)
    except (DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        return problem("malformed", f"The body is not JSON: {malformed}")
    return invalid(located_in(document, str(error), read))


def for_exception(error: Exception, request_id: str, method: str) -> Answer:
    """The answer for anything a call can raise; one that only reads gets no advice on retries."""
    reads = method == "GET"
    match error:
        case Refused():
            return error.answer
        case store.Fenced():
            return problem(
                "fenced",
                f"Nothing was changed. {error.reason}.",
                retry_after=error.retry_after_seconds,
            )
        case store.Overloaded():
            return problem(
                "overloaded",
                "More than can be decided soon waits already. Nothing was changed.",
                retry_after=1,
            )
        case store.Unavailable():
            return problem(
                "unavailable",
                "Stock can't be reached now."
                if reads
                else "Stock can't be reached; whether the call took effect shows on a retry.",
                retry_after=1,
            )
        case Unavailable():
            return problem(
                "unavailable",
                (
                    "The ledger doesn't have it yet."
                    if isinstance(error, NotRecorded)
                    else "Postgres can't be reached."
                )
                + ("" if reads else " A retry makes it definite."),
                retry_after=1,
            )
        case _:
            log.error("request_failed", request_id=request_id, exc_info=error)
            return problem("internal", f"It is logged under the request id {request_id}.")
