"""The exception queues: events that couldn't be applied, and findings for people to look at."""

from typing import Annotated, Literal

from litestar import Router, get
from litestar.params import QueryParameter
from litestar.response import Response
from msgspec import Struct

from atp_service.api.litestar_routes import problems, respond
from atp_service.api.pagination import Limit, NumberCursor, number_after
from atp_service.api.responses import Answer, Timestamp, timestamp_of
from atp_service.ledger import ExceptionRow, Ledger


class ExceptionDocument(Struct, frozen=True):
    """One cause and key, however often it happened; the payload is that of the last message."""

    id: str
    kind: str
    reason: str
    owner: str
    status: str
    sku: str | None
    location: str | None
    reference: str | None
    units: int | None
    detail: str
    count: int
    first_at: Timestamp
    last_at: Timestamp
    settled_at: Timestamp | None
    note: str | None
    source: str | None
    event_id: str | None
    payload: str | None


class ExceptionPage(Struct, frozen=True):
    """Exceptions by id."""

    items: list[ExceptionDocument]
    next_cursor: str | None


Filter = Annotated[str | None, QueryParameter(max_length=64)]


def routes(ledger: Ledger) -> Router:
    @get("/", summary="Exceptions, oldest first", responses=problems("invalid"))
    async def page(
        owner: Filter = None,
        kind: Filter = None,
        status: Annotated[Literal["open", "settled", "resolved"] | None, QueryParameter()] = None,
        limit: Limit = 100,
        cursor: NumberCursor = None,
    ) -> Response[ExceptionPage]:
        after = number_after(cursor) or 0
        if any("\x00" in (value or "") for value in (owner, kind)):
            return respond(Answer(200, ExceptionPage([], None)))
        rows = await ledger.exceptions(
            owner=owner, kind=kind, status=status, limit=limit + 1, after=after
        )
        shown = [document_of(row) for row in rows[:limit]]
        next_cursor = shown[-1].id if len(rows) > limit else None
        return respond(Answer(200, ExceptionPage(shown, next_cursor)))

    return Router("/v1/exceptions", route_handlers=[page], tags=["Exceptions"])


def document_of(row: ExceptionRow) -> ExceptionDocument:
    return ExceptionDocument(
        str(row.id),
        row.kind,
        row.kind,
        row.owner,
        row.status,
        row.sku or None,
        row.location or None,
        row.reference or None,
        row.units,
        row.detail,
        row.count,
        timestamp_of(row.first_at),
        timestamp_of(row.last_at),
        None if row.settled_at is None else timestamp_of(row.settled_at),
        row.note,
        row.source,
        row.event_id,
        None if row.payload is None else row.payload.decode(errors="replace"),
    )
