"""The reservation document, which every reservation call returns."""

from typing import Literal

from msgspec import Struct, structs

from atp_service.api.responses import Timestamp, timestamp, timestamp_or_none
from atp_service.inventory.reservations import Line, Reservation, Status


class LineDocument(Struct, frozen=True):
    """A line: the units asked for and where they are now."""

    line_id: str
    sku: str
    location: str
    quantity: int
    reserved: int
    allocated: int
    fulfilled: int
    released: int


class ReservationDocument(Struct, frozen=True):
    """A reservation as callers see it."""

    reservation_id: str
    status: Status
    generation: int
    channel: str | None
    customer_id: str | None
    order_id: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    lines: list[LineDocument]


class ConfirmedDocument(ReservationDocument, frozen=True, kw_only=True):
    """A confirmed reservation, and whether its units had to be taken anew."""

    outcome: Literal["kept", "reacquired"]


def document(reservation_id: str, reservation: Reservation) -> ReservationDocument:
    return ReservationDocument(
        reservation_id,
        reservation.status,
        reservation.generation,
        reservation.channel or None,
        reservation.customer_id or None,
        reservation.order_id or None,
        timestamp(reservation.created_at),
        _deadline(reservation),
        [_line(line) for line in reservation.lines],
    )


def confirmed_document(reservation_id: str, reservation: Reservation) -> ConfirmedDocument:
    members = structs.astuple(document(reservation_id, reservation))
    outcome = reservation.outcome or "kept"
    return ConfirmedDocument(*members, outcome=outcome)


def _deadline(reservation: Reservation) -> str | None:
    """A deadline means something only if units are, or were, held until it."""
    if reservation.status in ("held", "expired"):
        return timestamp_or_none(reservation.expires_at)
    return None


def _line(line: Line) -> LineDocument:
    return LineDocument(
        line.line_id,
        line.sku,
        line.location,
        line.quantity,
        line.reserved,
        line.allocated,
        line.fulfilled,
        line.released,
    )
