"""An event becomes a command: names as the catalog knows them, quantities in base units."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from atp_service.catalog import Catalog, Feed
from atp_service.facts import canonical_events
from atp_service.facts.canonical_events import AnyEvent, StockEvent, Unfit
from atp_service.inventory import commands
from atp_service.inventory.commands import Fact

MOST_UNITS = 1_000_000_000
MOST_WORDS = 1_000  # characters of a reason

RETURNS = "returns"
Places = tuple[str, ...]


class Closing(Struct, frozen=True):
    """The end of a snapshot, and the line it carries, if any."""

    closed: commands.SnapshotClosed
    line: commands.Snapshot | None = None


class Names(Struct, frozen=True):
    """What an event speaks of, in our words; a heartbeat speaks of its feed alone."""

    feed: str
    sku: str | None
    places: Places


def names_of(event: AnyEvent, catalog: Catalog) -> Names:
    if isinstance(event, canonical_events.Heartbeat):
        return Names(event.source, None, ())
    feed = catalog.feeds.get(event.source) or Feed(id=event.source)
    told = event.data.sku
    sku = None if told is None else our_sku(told, feed, catalog)
    return Names(event.source, sku, _places(event, feed))


def our_sku(told: str, feed: Feed, catalog: Catalog) -> str:
    """What we call a SKU of the feed's; its own word where nobody knows it."""
    name = feed.sku_map.get(told, told)
    known = catalog.skus.get(name) or catalog.sku_by_alias(feed.id, name)
    return known.sku if known else name


def our_location(told: str, feed: Feed) -> str:
    """What we call a location of the feed's."""
    return feed.location_map.get(told, told)


def places_told(event: AnyEvent) -> Places:
    """The event's locations in the feed's words, first the one whose on_hand changes."""
    if isinstance(event, canonical_events.Heartbeat):
        return ()
    data = event.data
    if isinstance(data, canonical_events.TransferShippedData):
        return (data.origin, data.to)
    if isinstance(data, canonical_events.TransferReceivedData):
        return (data.to, data.origin) if data.origin else (data.to,)
    return (data.location,)


def translate(event: AnyEvent, catalog: Catalog) -> Fact | Closing | Unfit:
    """The command, or what the catalog doesn't know: a feed, a location, a SKU, a unit.

    A count's or a snapshot's command is not whole yet: what happened since is still to be added up.
    """
    feed = catalog.feeds.get(event.source)
    if feed is None:
        return _unknown(event, "feed", event.source)
    if isinstance(event, canonical_events.Heartbeat):
        return commands.Heartbeat(
            source=event.source,
            event_id=event.id,
            occurred_at_ms=event.occurred_at_ms,
            traceparent=event.traceparent,
        )
    places = _places(event, feed)
    for place in places:
        if place not in catalog.locations:
            return _unknown(event, "location", place)
    if isinstance(event, canonical_events.Snapshot):
        return _snapshot(event, places, feed, catalog)
    goods = _goods(event, event.data.sku, event.data.quantity, feed, catalog)
    if isinstance(goods, Unfit):
        return goods
    sku, quantity = goods
    return _COMMANDS[type(event)](event, sku, places, quantity)


def _goods(
    event: StockEvent, told: str, quantity: int, feed: Feed, catalog: Catalog
) -> tuple[str, int] | Unfit:
    """Our SKU and its units in the base unit; or which of them nobody knows."""
    name = feed.sku_map.get(told, told)
    sku = catalog.skus.get(name) or catalog.sku_by_alias(event.source, name)
    if sku is None:
        return _unknown(event, "sku", name)
    unit = event.data.unit
    if unit is not None and unit != sku.base_unit:
        converted = sku.in_base_units(quantity, unit)
        if converted is None or abs(converted) > MOST_UNITS:
            detail = f"{quantity} {unit} are no whole number of {sku.base_unit} within bounds"
            return _unfit(event, "unknown-unit", f"{sku.sku} {unit}", detail)
        quantity = converted
    return sku.sku, quantity


def _places(event: StockEvent, feed: Feed) -> Places:
    """The event's locations in our words, in the same order."""
    places = places_told(event)
    if feed.location_map:
        return tuple(our_location(place, feed) for place in places)
    return places


def _unknown(event: AnyEvent, kind: str, name: str) -> Unfit:
    return _unfit(event, f"unknown-{kind}", name, f"no {kind} {name}")


def _unfit(event: AnyEvent, reason: str, subject: str, detail: str) -> Unfit:
    return Unfit(
        reason=reason,
        subject=subject,
        detail=detail,
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
    )


def _sale(
    event: canonical_events.Sale | canonical_events.Shipment,
    sku: str,
    places: Places,
    quantity: int,
) -> commands.Sale:
    command = commands.Shipment if isinstance(event, canonical_events.Shipment) else commands.Sale
    return command(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        order_id=event.data.order_id,
        reservation_id=event.data.reservation_id,
        shipment_id=event.data.shipment_id,
        document=event.data.document,
    )


def _return(
    event: canonical_events.Return, sku: str, places: Places, quantity: int
) -> commands.Return:
    disposition = event.data.disposition or "restock"
    document = event.data.document
    if document is None and disposition in ("in_transit", "to_dc"):
        # What is on its way back needs a document to arrive under; one a level, not one an event.
        document = RETURNS
    return commands.Return(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        disposition=disposition,
        document=document,
        order_id=event.data.order_id,
    )


def _receipt(
    event: canonical_events.Receipt, sku: str, places: Places, quantity: int
) -> commands.Receipt:
    return commands.Receipt(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        document=event.data.document,
    )


def _transfer_shipped(
    event: canonical_events.TransferShipped, sku: str, places: Places, quantity: int
) -> commands.TransferShipped:
    return commands.TransferShipped(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        from_location=places[0],
        to_location=places[1],
        quantity=quantity,
        document=event.data.document,
        eta=event.data.eta and canonical_events.eta_in_utc(event.data.eta),
    )


def _transfer_received(
    event: canonical_events.TransferReceived, sku: str, places: Places, quantity: int
) -> commands.TransferReceived:
    return commands.TransferReceived(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        from_location=places[1] if len(places) > 1 else None,
        to_location=places[0],
        quantity=quantity,
        document=event.data.document,
    )


def _adjustment(
    event: canonical_events.Adjustment, sku: str, places: Places, quantity: int
) -> commands.Adjustment:
    return commands.Adjustment(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        reason=event.data.reason and _kept_of(event.data.reason),
    )


def _kept_of(reason: str) -> str:
    """The units count, whatever somebody has to say about them."""
    return reason if len(reason) <= MOST_WORDS else f"{reason[: MOST_WORDS - 1]}…"


def _count(
    event: canonical_events.Count, sku: str, places: Places, quantity: int
) -> commands.Count:
    return commands.Count(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        deltas_after=0,
        moves=0,
    )


def _snapshot(
    event: canonical_events.Snapshot, places: Places, feed: Feed, catalog: Catalog
) -> commands.Snapshot | Closing | Unfit:
    data = event.data
    closed = _closed(event, places)
    if data.sku is None or data.quantity is None:
        return Closing(closed)
    goods = _goods(event, data.sku, data.quantity, feed, catalog)
    if isinstance(goods, Unfit):
        return goods
    sku, quantity = goods
    line = commands.Snapshot(
        source=event.source,
        event_id=part_id(closed, sku) if data.final else event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        policy=feed.snapshot,
        tolerance=feed.snapshot_tolerance,
    )
    return Closing(closed, line) if data.final else line


def _closed(event: canonical_events.Snapshot, places: Places) -> commands.SnapshotClosed:
    return commands.SnapshotClosed(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        location=places[0],
    )


def part_id(closed: commands.SnapshotClosed, sku: str) -> str:
    """What one line is known by, of those that the end of a snapshot says."""
    return f"{closed.event_id}#{sku}"


def _state_change(
    event: canonical_events.StateChange, sku: str, places: Places, quantity: int
) -> commands.StateChange:
    return commands.StateChange(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        from_state=event.data.from_state,
        to_state=event.data.to_state,
    )


def _incoming(
    event: canonical_events.Incoming, sku: str, places: Places, quantity: int
) -> commands.Incoming:
    return commands.Incoming(
        source=event.source,
        event_id=event.id,
        occurred_at_ms=event.occurred_at_ms,
        traceparent=event.traceparent,
        sku=sku,
        location=places[0],
        quantity=quantity,
        document=event.data.document,
        eta=event.data.eta and canonical_events.eta_in_utc(event.data.eta),
    )


_COMMANDS: dict[type[AnyEvent], Callable[[Any, str, Places, int], Fact]] = {
    canonical_events.Sale: _sale,
    canonical_events.Shipment: _sale,
    canonical_events.Return: _return,
    canonical_events.Receipt: _receipt,
    canonical_events.TransferShipped: _transfer_shipped,
    canonical_events.TransferReceived: _transfer_received,
    canonical_events.Adjustment: _adjustment,
    canonical_events.Count: _count,
    canonical_events.StateChange: _state_change,
    canonical_events.Incoming: _incoming,
}
