"""What became of an event: read from its entry, as the script answered it."""

from typing import Literal

from atp_service.inventory.journal import CommandFields, Head
from atp_service.inventory.stock import StockLevel

EventStatus = Literal["applied", "absorbed", "parked"]

# Facts that move on_hand; if it did not move, a later count had seen these units already.
MOVING = frozenset(
    ("sale", "shipment", "receipt", "adjustment", "transfer_shipped", "transfer_received")
)
_ON_ITS_WAY = ("in_transit", "to_dc")  # a return that moves nothing yet


def became(fields: CommandFields, head: Head, level: StockLevel | None) -> EventStatus:
    """`level` is the fact's level afterwards, the last if there are two."""
    if head.kind == "park":
        return "parked"
    return "absorbed" if _absorbed(fields, head, level) else "applied"


def _absorbed(fields: CommandFields, head: Head, level: StockLevel | None) -> bool:
    occurred_at_ms = fields.occurred_at_ms or head.at_ms
    if head.kind in MOVING:
        return not head.on_hand_deltas
    if head.kind == "return":
        return not head.on_hand_deltas and fields.disposition not in _ON_ITS_WAY
    if head.kind == "snapshot":
        # One that was compared differs, or settles what differed before.
        return not head.noted and not head.settled
    if level is None:
        return False
    if head.kind == "count":
        return occurred_at_ms < (level.extras.counted_at or 0)
    if head.kind == "incoming":
        document = level.extras.documents.get(fields.document or "")
        return document is not None and occurred_at_ms < document.expected_at
    return False
