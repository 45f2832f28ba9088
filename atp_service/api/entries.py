"""What an explanation and a trace show of an entry."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from atp_service.api.responses import Timestamp, timestamp
from atp_service.ledger.read.entries import RecordedEntry


class EntryMembers(Struct, frozen=True, kw_only=True):
    """Members of any entry; those that its command does not have are left out."""

    seq: int
    at: Timestamp
    kind: str
    occurred_at: Timestamp | UnsetType = UNSET
    reservation_id: str | UnsetType = UNSET
    order_id: str | UnsetType = UNSET
    shipment_id: str | UnsetType = UNSET
    erp_document: str | UnsetType = UNSET
    document: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET


def members_of(entry: RecordedEntry) -> dict[str, Any]:
    """The members; the reservation's id only if the entry changed just one reservation."""
    fields, head, ids, order_ids = entry.fields, entry.head, entry.reservation_ids, entry.order_ids
    return {
        "seq": entry.seq,
        "at": timestamp(head.at_ms),
        "kind": head.kind,
        "occurred_at": UNSET if fields.occurred_at_ms is None else timestamp(fields.occurred_at_ms),
        "reservation_id": ids[0] if len(ids) == 1 else UNSET,
        "order_id": order_ids[0] if order_ids else UNSET,
        "shipment_id": fields.shipment_id or UNSET,
        "erp_document": fields.erp_document or UNSET,
        "document": fields.document or UNSET,
        "source": fields.source or UNSET,
        "event_id": fields.event_id or UNSET,
        "reason": fields.reason or UNSET,
        "traceparent": fields.traceparent or UNSET,
    }
