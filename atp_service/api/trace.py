"""Everything that is tied to an id, whatever it is the id of, in the order of time."""

from contextlib import suppress
from typing import Annotated, Any

from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.msgpack import Decoder

from atp_service import store as stock
from atp_service.api.entries import EntryMembers, members_of
from atp_service.api.exceptions import ExceptionDocument, document_of
from atp_service.api.litestar_routes import path_parameter, problems, respond
from atp_service.api.problems import problem
from atp_service.api.request_decoding import path_id
from atp_service.api.responses import Answer
from atp_service.api.wait_recorded import recorded_now
from atp_service.identifiers import PRINTABLE
from atp_service.inventory.reservations import ConfirmOutcome, Status
from atp_service.inventory.stock import StockLevel, split_field
from atp_service.ledger import Ledger
from atp_service.ledger.read.entries import RecordedEntry
from atp_service.ledger.read.trace import FoundAs, Trace, trace
from atp_service.store import Store

# Of two ids and what stands between them: the end of a snapshot is known by its event and the SKU.
_LONGEST = 129
_decode_lines = Decoder(list[dict[str, Any]]).decode

TracedId = Annotated[str, Meta(min_length=1, max_length=_LONGEST, pattern=PRINTABLE)]


class TracedLevel(Struct, frozen=True):
    """A level as the entry left it."""

    sku: str
    location: str
    on_hand_delta: int
    on_hand: int
    reserved: int
    allocated: int
    unavailable: int
    version: int


class TracedEntry(EntryMembers, frozen=True, kw_only=True):
    """One entry: what was asked for, and what it left behind.

    `status` is the reservation's afterwards; if the entry touched several, `statuses` has each.
    """

    epoch: int
    status: Status | UnsetType = UNSET
    outcome: ConfirmOutcome | UnsetType = UNSET
    statuses: dict[str, Status] | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    line_id: str | UnsetType = UNSET
    quantity: int | UnsetType = UNSET
    lines: list[dict[str, Any]] | UnsetType = UNSET
    levels: list[TracedLevel]


class TraceDocument(Struct, frozen=True):
    """What the id was found as, and its story; `truncated` if there is more of it."""

    id: str
    found_as: list[FoundAs]
    reservations: list[str]
    orders: list[str]
    traceparents: list[str]
    entries: list[TracedEntry]
    exceptions: list[ExceptionDocument]
    truncated: bool


async def traced(store: Store, ledger: Ledger, id_: str) -> Answer:
    # Without Redis the ledger is enough: it has all but the last moments.
    with suppress(stock.Unavailable, stock.Fenced):
        await recorded_now(store, ledger)
    found = await trace(ledger, id_)
    if found is None:
        return problem("not-found", f"The ledger has nothing of {id_}.")
    return Answer(200, _document(id_, found))


def _document(id_: str, found: Trace) -> TraceDocument:
    traceparents = (entry.fields.traceparent for entry in found.entries)
    return TraceDocument(
        id_,
        found.found_as,
        found.reservations,
        found.orders,
        list(dict.fromkeys(filter(None, traceparents))),
        [_entry(entry) for entry in found.entries],
        [document_of(row) for row in found.exceptions],
        found.truncated,
    )


def _entry(entry: RecordedEntry) -> TracedEntry:
    fields, head = entry.fields, entry.head
    members = members_of(entry)
    if members["reservation_id"] is UNSET:
        members["reservation_id"] = fields.reservation_id or UNSET
    after = entry.reservations
    reservation = after.get(entry.reservation_ids[0]) if len(entry.reservation_ids) == 1 else None
    statuses = {reservation_id: each.status for reservation_id, each in after.items()}
    return TracedEntry(
        **members,
        epoch=head.epoch,
        status=reservation.status if reservation else UNSET,
        outcome=reservation.outcome if reservation and head.kind == "confirm" else UNSET,
        statuses=statuses if len(entry.reservation_ids) > 1 else UNSET,
        channel=fields.channel or fields.terms_channel or UNSET,
        line_id=fields.line_id or UNSET,
        quantity=UNSET if fields.quantity is None else fields.quantity,
        lines=_decode_lines(fields.lines) if fields.lines else UNSET,
        levels=[
            _level(name, level, delta)
            for (name, level), delta in zip(entry.levels.items(), entry.deltas, strict=True)
        ],
    )


def _level(name: str, level: StockLevel, on_hand_delta: int) -> TracedLevel:
    sku, location = split_field(name)
    return TracedLevel(
        sku,
        location,
        on_hand_delta,
        level.on_hand,
        level.reserved,
        level.allocated,
        level.unavailable,
        level.version,
    )


def routes(store: Store, ledger: Ledger) -> Router:
    @get(
        "/{key:str}",
        summary="Everything tied to an id",
        responses={
            200: ResponseSpec(TraceDocument, generate_examples=False, description="Its story")
        }
        | problems("invalid", "not-found"),
    )
    async def read(
        key: Annotated[
            str, path_parameter("of a reservation, order, shipment, document or event", TracedId)
        ],
    ) -> Response[Any]:
        return respond(await traced(store, ledger, path_id("id", key, TracedId)))

    return Router("/v1/trace", route_handlers=[read], tags=["Proof"])
