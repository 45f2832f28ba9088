"""Stock events as feeds send them: CloudEvents 1.0 as JSON, decoded once into a struct per type.

Bounds are those of the contract (api.md, "Stock events"). They differ from those of
`identifiers.py` on purpose: an event is not refused but parked, so that the characters of an id are
checked after it is decoded. Unknown members are ignored, as CloudEvents asks.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, structs

from atp_service.identifiers import traceparent_of
from atp_service.inventory.commands import Disposition

Id = Annotated[str, Meta(min_length=1, max_length=64)]
LocationId = Annotated[str, Meta(min_length=1, max_length=32)]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Level = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Difference = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]

AHEAD_MS: Final = 300_000  # clocks differ; an event further ahead is wrong


class Event(Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """The envelope. `source` is the feed's id; (`source`, `id`) makes the event happen once.

    A traceparent may be anything and stops no fact: one that is malformed is None after reading.
    """

    specversion: Literal["1.0"]
    id: Id
    source: Id
    time: Annotated[datetime, Meta(tz=True)]
    traceparent: Any = None

    @property
    def occurred_at_ms(self) -> int:
        return milliseconds(self.time)


class LevelData(Struct, frozen=True, kw_only=True, gc=False):
    """Units of a SKU at one location."""

    sku: Id
    location: LocationId
    quantity: Quantity
    unit: Id | None = None


class SaleData(LevelData, frozen=True, kw_only=True):
    order_id: Id | None = None
    reservation_id: Id | None = None
    shipment_id: Id | None = None
    document: Id | None = None


class ReturnData(LevelData, frozen=True, kw_only=True):
    disposition: Disposition | None = None
    document: Id | None = None
    order_id: Id | None = None


class ReceiptData(LevelData, frozen=True, kw_only=True):
    document: Id | None = None


class TransferData(Struct, frozen=True, kw_only=True, gc=False, rename={"origin": "from"}):
    """Units of a SKU on their way between two locations."""

    sku: Id
    to: LocationId
    quantity: Quantity
    document: Id
    unit: Id | None = None


class TransferShippedData(TransferData, frozen=True, kw_only=True):
    origin: LocationId
    eta: str | None = None


class TransferReceivedData(TransferData, frozen=True, kw_only=True):
    origin: LocationId | None = None


class AdjustmentData(LevelData, frozen=True, kw_only=True):
    quantity: Difference
    reason: str | None = None


class CountData(LevelData, frozen=True, kw_only=True):
    quantity: Level


class SnapshotData(Struct, frozen=True, kw_only=True, gc=False):
    """A line of a snapshot; with `final` its end, which may have no line."""

    location: LocationId
    sku: Id | None = None
    quantity: Level | None = None
    unit: Id | None = None
    final: bool = False


class StateChangeData(LevelData, frozen=True, kw_only=True):
    from_state: Id
    to_state: Id


class IncomingData(LevelData, frozen=True, kw_only=True):
    quantity: Level
    document: Id
    eta: str | None = None


class Sale(Event, frozen=True, kw_only=True, tag="atp.stock.sale.v1"):
    data: SaleData


class Shipment(Event, frozen=True, kw_only=True, tag="atp.stock.shipment.v1"):
    data: SaleData


class Return(Event, frozen=True, kw_only=True, tag="atp.stock.return.v1"):
    data: ReturnData


class Receipt(Event, frozen=True, kw_only=True, tag="atp.stock.receipt.v1"):
    data: ReceiptData


class TransferShipped(Event, frozen=True, kw_only=True, tag="atp.stock.transfer_shipped.v1"):
    data: TransferShippedData


class TransferReceived(Event, frozen=True, kw_only=True, tag="atp.stock.transfer_received.v1"):
    data: TransferReceivedData


class Adjustment(Event, frozen=True, kw_only=True, tag="atp.stock.adjustment.v1"):
    data: AdjustmentData


class Count(Event, frozen=True, kw_only=True, tag="atp.stock.count.v1"):
    data: CountData


class Snapshot(Event, frozen=True, kw_only=True, tag="atp.stock.snapshot.v1"):
    data: SnapshotData


class StateChange(Event, frozen=True, kw_only=True, tag="atp.stock.state_change.v1"):
    data: StateChangeData


class Incoming(Event, frozen=True, kw_only=True, tag="atp.stock.incoming.v1"):
    data: IncomingData


class Heartbeat(Event, frozen=True, kw_only=True, tag="atp.stock.heartbeat.v1"):
    """Needs no data."""


StockEvent = (
    Sale
    | Shipment
    | Return
    | Receipt
    | TransferShipped
    | TransferReceived
    | Adjustment
    | Count
    | Snapshot
    | StateChange
    | Incoming
)
AnyEvent = StockEvent | Heartbeat


class Unfit(Struct, frozen=True, kw_only=True):
    """Why an event can't be applied. `subject` is the thing to mend: one open exception for each.

    `occurred_at_ms` is None if the event has no time, or an impossible one.
    """

    reason: str
    subject: str
    detail: str
    source: str = ""
    event_id: str = ""
    occurred_at_ms: int | None = None
    traceparent: str | None = None


def read_event(payload: bytes) -> AnyEvent | Unfit:
    """The event, or why it is none: malformed, invalid or unknown-type.

    A `malformed` payload is no CloudEvent at all: it has no source and id to be known by.
    """
    try:
        event = _decode(payload)
    except _UNREADABLE as error:
        return structs.replace(_diagnose(payload, str(error)), occurred_at_ms=_time_in(payload))
    problem = _beyond_the_schema(event)
    if problem is not None:
        return structs.replace(_invalid(event, *problem), occurred_at_ms=_time_in(payload))
    if event.traceparent is not None:
        return structs.replace(event, traceparent=traceparent_of(event.traceparent))
    return event


def names_sent(payload: bytes) -> tuple[str | None, str | None]:
    """The source and id of an event as they were sent; None for one that is no text."""
    try:
        names = _decode_names(payload)
    except _UNREADABLE:
        return None, None
    source, id_ = (text if isinstance(text, str) else None for text in (names.source, names.id))
    return source, id_


def eta_in_utc(eta: str) -> str | None:
    """A date as it is, a time in UTC, so that they compare as texts; None if it is neither."""
    parts = _eta(eta)
    if parts is None:
        return None
    try:
        if parts["time"] is None:
            return date.fromisoformat(eta).isoformat()
        moment = datetime.fromisoformat(eta).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def milliseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MILLISECOND


def tidy(text: str, length: int = 64) -> str:
    """Text from outside, fit for a key or a message: printable, and not endless."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def is_id(text: str) -> bool:
    """1–64 characters, none of them a control character, `{` or `}`."""
    return 0 < len(text) <= 64 and not _forbidden(text)


class _Envelope(Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str


class _Names(Struct, frozen=True):
    source: Any = None
    id: Any = None


class _Dated(Struct, frozen=True):
    time: Annotated[datetime, Meta(tz=True)]


_UNSET_YEAR = 1970  # of a till whose clock was never set
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EVENTS: tuple[Any, ...] = AnyEvent.__args__
_TYPES = frozenset(str(event.__struct_config__.tag) for event in _EVENTS)
_decode: Callable[[bytes], AnyEvent] = msgspec.json.Decoder(AnyEvent).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_names = msgspec.json.Decoder(_Names).decode
_decode_dated = msgspec.json.Decoder(_Dated).decode
_MISSING = re.compile(r"missing required field `(\w+)`")
_forbidden = re.compile(r"[\x00-\x1f\x7f-\x9f{}]").search  # in any id, see identifiers.py
# RFC 3339. Python takes much more for a date or a time, and any character between the two.
_eta = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?P<time>T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?"
).fullmatch
_NOT_IDS = frozenset({"quantity", "disposition", "reason", "eta", "final"})


def _ids_of(event: type[Event]) -> Callable[[Any], tuple[str | None, ...]]:
    """A getter of all members of an event that are ids, by name."""
    names = ["id", "source"]
    for field in msgspec.structs.fields(event):
        if field.name == "data":
            names += [
                f"data.{member.name}"
                for member in msgspec.structs.fields(field.type)
                if member.name not in _NOT_IDS
            ]
    return attrgetter(*names)


_IDS = {event: _ids_of(event) for event in _EVENTS}


def _beyond_the_schema(event: AnyEvent) -> tuple[str, str] | None:
    """The place and kind of a fault that the structs above can't express; None without one."""
    if _forbidden("".join(filter(None, _IDS[type(event)](event)))):
        return _first_bad_id(event), "Expected no control characters, `{` or `}`"
    if event.time.year <= _UNSET_YEAR:
        return "$.time", "Expected a time after 1970"
    rule = _RULES.get(type(event))
    return rule(event) if rule is not None else None


def _time_in(payload: bytes) -> int | None:
    """When it happened, if that much can be read."""
    try:
        time = _decode_dated(payload).time
    except _UNREADABLE:
        return None
    return milliseconds(time) if time.year > _UNSET_YEAR else None


def _adjustment_rule(event: Adjustment) -> tuple[str, str] | None:
    if event.data.quantity == 0:
        return "$.data.quantity", "Expected any `int` but 0"
    if "\0" in (event.data.reason or ""):  # Postgres has no text with NUL.
        return "$.data.reason", "Expected text without NUL"
    return None


def _transfer_rule(event: TransferShipped | TransferReceived) -> tuple[str, str] | None:
    if event.data.origin == event.data.to:
        return "$.data.to", "Expected another location than `from`"
    return _eta_rule(event) if isinstance(event, TransferShipped) else None


def _snapshot_rule(event: Snapshot) -> tuple[str, str] | None:
    data = event.data
    if data.sku is None and data.quantity is None and data.final:
        return None
    if data.sku is None:
        return "$.data.sku", "Object missing required field `sku`"
    if data.quantity is None:
        return "$.data.quantity", "Object missing required field `quantity`"
    return None


def _state_rule(event: StateChange) -> tuple[str, str] | None:
    if event.data.from_state == event.data.to_state:
        return "$.data.to_state", "Expected another state than `from_state`"
    return None


def _eta_rule(event: TransferShipped | Incoming) -> tuple[str, str] | None:
    eta = event.data.eta
    if eta is not None and eta_in_utc(eta) is None:
        return "$.data.eta", "Expected a date or an RFC 3339 time"
    return None


_RULES: dict[type[Event], Callable[[Any], tuple[str, str] | None]] = {
    Adjustment: _adjustment_rule,
    TransferShipped: _transfer_rule,
    TransferReceived: _transfer_rule,
    Snapshot: _snapshot_rule,
    StateChange: _state_rule,
    Incoming: _eta_rule,
}


def _first_bad_id(event: AnyEvent) -> str:
    members = {"id": event.id, "source": event.source}
    if not isinstance(event, Heartbeat):
        data = msgspec.to_builtins(event.data)
        members |= {f"data.{k}": v for k, v in data.items() if k not in _NOT_IDS}
    return "$." + next(name for name, text in members.items() if text and _forbidden(text))


def _diagnose(payload: bytes, error: str) -> Unfit:
    """Why the payload can't be read. The envelope alone has its source and id."""
    try:
        envelope = _decode_envelope(payload)
    except _UNREADABLE as envelope_error:
        return Unfit(reason="malformed", subject="", detail=str(envelope_error))
    if not (envelope.id and envelope.source and envelope.type):
        return Unfit(reason="malformed", subject="", detail="id, source and type can't be empty")
    if envelope.type not in _TYPES:
        return Unfit(
            reason="unknown-type",
            subject=tidy(envelope.type),
            detail=f"unknown event type {tidy(envelope.type)}",
            source=envelope.source,
            event_id=envelope.id,
        )
    message, _, path = error.partition(" - at ")
    path = path.strip("`") or "$"
    if missing := _MISSING.search(message):
        path += f".{missing[1]}"
    return _invalid(envelope, path, message)


def _invalid(event: AnyEvent | _Envelope, path: str, message: str) -> Unfit:
    return Unfit(
        reason="invalid",
        subject=f"{tidy(event.source)} {path}",
        detail=tidy(f"{message} - at `{path}`", 300),
        source=event.source,
        event_id=event.id,
    )
