"""What the dedupe window remembers, derived from the window's entries.

The keys are those the script writes (`event_key`, `shipment_key` and `caller_key` of stock.lua).
"""

from collections.abc import Mapping, Sequence

import msgspec
import structlog
from msgspec import Struct

from atp_service.inventory.model.stock import shipment_key
from atp_service.inventory.reservations import decode_order, decode_standing
from atp_service.inventory.stock import SEPARATOR, level_field, split_field
from atp_service.workers.rebuild.fork.entry import UNREADABLE

_SOLD = ("sale", "shipment")


class Told(Struct, frozen=True):
    """What a command may be known by; the rest is skipped unread."""

    source: str | None = None
    event_id: str | None = None
    occurred_at_ms: int = 0
    key: str | None = None
    reservation_id: str | None = None
    order_id: str | None = None
    shipment_id: str | None = None
    sku: str = ""
    location: str | None = None
    quantity: int = 0


class Shipped(Struct, frozen=True):
    """Units that left with a shipment, as a fact told it."""

    seq: int
    shipment_id: str
    sku: str
    location: str
    reservation_id: str | None
    order_id: str | None
    touched: list[str]


log = structlog.get_logger()

_decode_told = msgspec.msgpack.Decoder(Told).decode
_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Seen:
    """Reads entries in order, and keeps what only later ones, or other tables, make whole."""

    def __init__(self) -> None:
        self.feeds: dict[str, tuple[int, int]] = {}  # latest event's time, when last heard of
        self.shipments: list[Shipped] = []
        self.sold_early: dict[str, int] = {}  # orders, and since when they are waited for
        self._confirmed: dict[str, int] = {}

    def keys_of(
        self, seq: int, kind: str, at_ms: int, command: bytes, images: bytes | None
    ) -> list[str]:
        """The keys an entry has left in the window, as far as nobody has made it unreadable."""
        try:
            told = _decode_told(command)
        except UNREADABLE as fault:
            log.error("entry_unreadable", seq=seq, reason=str(fault))
            return []
        keys = []
        if told.event_id is not None and told.source is not None:
            keys.append(f"e{told.source}{SEPARATOR}{told.event_id}")
            if kind != "park":
                self._hear(told.source, min(told.occurred_at_ms, at_ms), at_ms)
        if kind == "confirm":
            self._confirmed[told.reservation_id or ""] = seq
        try:
            touched = () if images is None else _decode_images(images)
            if told.key is not None:
                keys.append(f"k{kind}{SEPARATOR}{_subject(told, touched)}{SEPARATOR}{told.key}")
            if kind == "fulfil":
                keys += _fulfilled(told, touched)
            elif kind in _SOLD and (told.shipment_id or told.order_id):
                self._sell(seq, at_ms, told, touched)
        except UNREADABLE as fault:
            log.error("entry_unreadable", seq=seq, reason=str(fault))
        return keys

    def shipment_keys(
        self,
        shipment: Shipped,
        listed: Mapping[str, Sequence[str]],
        held: Mapping[str, int],
    ) -> list[str]:
        """`listed` are the orders' reservations, `held` the entries with which reservations began:
        it is remembered by those that were known when it came, else by what it names."""
        mine = shipment.reservation_id
        if mine is not None and held.get(mine, shipment.seq) < shipment.seq:
            holders = [mine]
        else:
            of_order = listed.get(shipment.order_id or "", ())
            known = [name for name in of_order if self._confirmed.get(name, 0) < shipment.seq]
            named = shipment.order_id or shipment.reservation_id or ""
            holders = known or shipment.touched or [named]
        return [
            shipment_key(shipment.shipment_id, shipment.sku, shipment.location, holder)
            for holder in holders
        ]

    def _hear(self, feed: str, occurred_at_ms: int, at_ms: int) -> None:
        before = self.feeds.get(feed)
        latest = occurred_at_ms if before is None else max(before[0], occurred_at_ms)
        self.feeds[feed] = (latest, at_ms)

    def _sell(self, seq: int, at_ms: int, told: Told, touched: Sequence[tuple[str, bytes]]) -> None:
        location = told.location or ""
        if told.shipment_id:
            reservations = [name[1:] for name, _ in touched if name[:1] == "r"]
            self.shipments.append(
                Shipped(
                    seq,
                    told.shipment_id,
                    told.sku,
                    location,
                    told.reservation_id,
                    told.order_id,
                    reservations,
                )
            )
        if told.order_id:
            image = dict(touched).get(f"o{told.order_id}")
            order = decode_order(image) if image is not None else None
            if order is not None and not order.reservations:
                self.sold_early[told.order_id] = at_ms


def _subject(told: Told, touched: Sequence[tuple[str, bytes]]) -> str:
    """What a caller's key was given for: a level, or a reservation in this life of its id."""
    if told.reservation_id is None:
        return level_field(told.sku, told.location or "")
    standing = decode_standing(dict(touched).get(f"r{told.reservation_id}", b""))
    return f"{told.reservation_id}{SEPARATOR}{standing.created_at}"


def _fulfilled(told: Told, touched: Sequence[tuple[str, bytes]]) -> list[str]:
    """A fulfil's units left from the levels it touched; from another location, if it named one."""
    if not told.shipment_id:
        return []
    levels = [split_field(name[1:]) for name, _ in touched if name[:1] == "l"]
    return [
        shipment_key(told.shipment_id, sku, location, told.reservation_id or "")
        for sku, location in levels
        if told.location in (None, location)
    ]
