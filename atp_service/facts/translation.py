"""An event becomes a command: names as the catalog has them, quantities in base units.

`_ROWS` has a row for each type of event. A new type is a row.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import Struct, structs

from atp_service.catalog import Catalog, Feed
from atp_service.facts import canonical_events as events
from atp_service.facts.canonical_events import AnyEvent, Heartbeat, StockEvent, Unfit
from atp_service.facts.work import Ready
from atp_service.inventory import commands

MOST_UNITS: Final = 1_000_000_000
LONGEST_REASON: Final = 1_000  # characters
RETURNS: Final = "returns"  # the document of returns that name none

Locations = tuple[str, ...]


class Names(Struct, frozen=True):
    """The names in an event, as the catalog has them. A heartbeat has its feed alone."""

    feed: str
    sku: str | None
    locations: Locations


def translate(event: AnyEvent, catalog: Catalog) -> Ready | Unfit:
    """The command; or the name that the catalog does not have: a feed, location, SKU or unit.

    The command of a count or of a snapshot's line lacks the sum of what happened since.
    """
    feed = catalog.feeds.get(event.source)
    if feed is None:
        return _unknown(event, "feed", event.source)
    if isinstance(event, Heartbeat):
        return Ready(commands.Heartbeat(**_envelope(event)))
    row = _ROWS[type(event)]
    data = event.data
    locations = row.locations(data)
    if feed.location_map:
        locations = tuple(our_location(name, feed) for name in locations)
    for location in locations:
        if location not in catalog.locations:
            return _unknown(event, "location", location)
    line = None
    if data.sku is not None and data.quantity is not None:  # else the end of a snapshot alone
        units = _in_base_units(event, data.sku, data.quantity, feed, catalog)
        if isinstance(units, Unfit):
            return units
        line = row.command(
            source=event.source,  # written out: this is done for every event
            event_id=event.id,
            occurred_at_ms=event.occurred_at_ms,
            traceparent=event.traceparent,
            sku=units[0],
            quantity=units[1],
            **row.members(data, locations, feed),
        )
        if not isinstance(data, events.SnapshotData) or not data.final:
            return Ready(line)
    closed = commands.SnapshotClosed(location=locations[0], **_envelope(event))
    if line is not None:
        line = structs.replace(line, event_id=line_id(closed, line.sku))
    return Ready(closed, line)


def names_of(event: AnyEvent, catalog: Catalog) -> Names:
    """The names of the event, the location whose on_hand changes first."""
    if isinstance(event, Heartbeat):
        return Names(event.source, None, ())
    feed = catalog.feeds.get(event.source) or Feed(id=event.source)
    name = event.data.sku
    sku = None if name is None else our_sku(name, feed, catalog)
    locations = tuple(our_location(name, feed) for name in named_locations(event))
    return Names(event.source, sku, locations)


def our_sku(name: str, feed: Feed, catalog: Catalog) -> str:
    """The SKU that the feed means by the name; the name itself if the catalog has none."""
    name = feed.sku_map.get(name, name)
    sku = catalog.skus.get(name) or catalog.sku_by_alias(feed.id, name)
    return sku.sku if sku else name


def our_location(name: str, feed: Feed) -> str:
    """The location that the feed means by the name."""
    return feed.location_map.get(name, name)


def named_locations(event: AnyEvent) -> Locations:
    """The event's locations in the feed's words, the one whose on_hand changes first."""
    if isinstance(event, Heartbeat):
        return ()
    return _ROWS[type(event)].locations(event.data)


def line_id(closed: commands.SnapshotClosed, sku: str) -> str:
    """The event id of a line that the end of a snapshot brings with it."""
    return f"{closed.event_id}#{sku}"


def _in_base_units(
    event: StockEvent, name: str, quantity: int, feed: Feed, catalog: Catalog
) -> tuple[str, int] | Unfit:
    """The SKU and its units in the base unit; or which of the two is unknown."""
    name = feed.sku_map.get(name, name)
    sku = catalog.skus.get(name) or catalog.sku_by_alias(event.source, name)
    if sku is None:
        return _unknown(event, "sku", name)
    unit = event.data.unit
    if unit is not None and unit != sku.base_unit:
        converted = sku.in_base_units(quantity, unit)
        if converted is None or abs(converted) > MOST_UNITS:
            detail = f"{quantity} {unit} are no whole number of {sku.base_unit} within bounds"
            return unfit(event, "unknown-unit", f"{sku.sku} {unit}", detail)
        quantity = converted
    return sku.sku, quantity


def _unknown(event: AnyEvent, kind: str, name: str) -> Unfit:
    return unfit(event, f"unknown-{kind}", name, f"no {kind} {name}")


def unfit(event: AnyEvent, reason: str, subject: str, detail: str) -> Unfit:
    """Why the event can't be applied."""
    return Unfit(reason=reason, subject=subject, detail=detail, **_envelope(event))


def _envelope(event: AnyEvent) -> dict[str, Any]:
    return {
        "source": event.source,
        "event_id": event.id,
        "occurred_at_ms": event.occurred_at_ms,
        "traceparent": event.traceparent,
    }


class _Row(NamedTuple):
    """How an event becomes its command, which has the event's SKU and quantity in any case.

    `locations`: the locations in the event's data, the one whose on_hand changes first.
    `members`: the command's other members, from the event's data, our locations and the feed.
    """

    command: Callable[..., Any]
    locations: Callable[[Any], Locations]
    members: Callable[[Any, Locations, Feed], dict[str, Any]]


def _here(data: Any) -> Locations:
    return (data.location,)


def _sold(data: events.SaleData, at: Locations, _: Feed) -> dict[str, Any]:
    return {
        "location": at[0],
        "order_id": data.order_id,
        "reservation_id": data.reservation_id,
        "shipment_id": data.shipment_id,
        "document": data.document,
    }


def _returned(data: events.ReturnData, at: Locations, _: Feed) -> dict[str, Any]:
    document = data.document
    if document is None and data.disposition in ("in_transit", "to_dc"):
        # Units on their way back need a document to arrive under: one a level, not one an event.
        document = RETURNS
    return {
        "location": at[0],
        "disposition": data.disposition or "restock",
        "document": document,
        "order_id": data.order_id,
    }


def _eta(data: events.TransferShippedData | events.IncomingData) -> str | None:
    return data.eta and events.eta_in_utc(data.eta)


def _short(reason: str | None) -> str | None:
    """The units count, however long the reason is."""
    if reason is None or len(reason) <= LONGEST_REASON:
        return reason
    return f"{reason[: LONGEST_REASON - 1]}…"


_ROWS: Final[dict[type[AnyEvent], _Row]] = {
    events.Sale: _Row(commands.Sale, _here, _sold),
    events.Shipment: _Row(commands.Shipment, _here, _sold),
    events.Return: _Row(commands.Return, _here, _returned),
    events.Receipt: _Row(
        commands.Receipt, _here, lambda data, at, _: {"location": at[0], "document": data.document}
    ),
    events.TransferShipped: _Row(
        commands.TransferShipped,
        lambda data: (data.origin, data.to),
        lambda data, at, _: {
            "from_location": at[0],
            "to_location": at[1],
            "document": data.document,
            "eta": _eta(data),
        },
    ),
    events.TransferReceived: _Row(
        commands.TransferReceived,
        lambda data: (data.to, data.origin) if data.origin else (data.to,),
        lambda data, at, _: {
            "from_location": at[1] if len(at) > 1 else None,
            "to_location": at[0],
            "document": data.document,
        },
    ),
    events.Adjustment: _Row(
        commands.Adjustment,
        _here,
        lambda data, at, _: {"location": at[0], "reason": _short(data.reason)},
    ),
    events.Count: _Row(
        commands.Count,
        _here,
        lambda _data, at, _: {"location": at[0], "deltas_after": 0, "moves": 0},
    ),
    events.Snapshot: _Row(
        commands.Snapshot,
        _here,
        lambda _, at, feed: {
            "location": at[0],
            "policy": feed.snapshot,
            "tolerance": feed.snapshot_tolerance,
        },
    ),
    events.StateChange: _Row(
        commands.StateChange,
        _here,
        lambda data, at, _: {
            "location": at[0],
            "from_state": data.from_state,
            "to_state": data.to_state,
        },
    ),
    events.Incoming: _Row(
        commands.Incoming,
        _here,
        lambda data, at, _: {"location": at[0], "document": data.document, "eta": _eta(data)},
    ),
}
