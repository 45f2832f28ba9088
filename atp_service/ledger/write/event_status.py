"""What became of an event: read from its entry, as the script answered it."""

from typing import Literal

import msgspec
from msgspec import Struct

from atp_service.inventory.journal import Head
from atp_service.inventory.stock import StockLevel

EventStatus = Literal["applied", "absorbed", "parked"]

# Facts that move on_hand; if it did not move, a later count had seen these units already.
MOVING = frozenset(
    ("sale", "shipment", "receipt", "adjustment", "transfer_shipped", "transfer_received")
)
_ON_ITS_WAY = ("in_transit", "to_dc")  # a return that moves nothing yet


class Told(Struct):
    """What the ledger needs of a command, whichever it is; the rest is skipped unread."""

    source: str | None = None
    event_id: str | None = None
    occurred_at_ms: int | None = None
    reservation_id: str | None = None
    order_id: str | None = None
    shipment_id: str | None = None
    document: str | None = None
    erp_document: str | None = None
    disposition: str | None = None


decode_told = msgspec.msgpack.Decoder(Told).decode


def became(told: Told, head: Head, level: StockLevel | None) -> EventStatus:
    """`level` is the fact's level afterwards, the last if there are two."""
    if head.kind == "park":
        return "parked"
    return "absorbed" if _absorbed(told, head, level) else "applied"


def _absorbed(told: Told, head: Head, level: StockLevel | None) -> bool:
    occurred_at_ms = told.occurred_at_ms or head.at_ms
    if head.kind in MOVING:
        return not head.on_hand_deltas
    if head.kind == "return":
        return not head.on_hand_deltas and told.disposition not in _ON_ITS_WAY
    if head.kind == "snapshot":
        # One that was compared differs, or settles what differed before.
        return not head.noted and not head.settled
    if level is None:
        return False
    if head.kind == "count":
        return occurred_at_ms < (level.extras.counted_at or 0)
    if head.kind == "incoming":
        document = level.extras.documents.get(told.document or "")
        return document is not None and occurred_at_ms < document.expected_at
    return False
