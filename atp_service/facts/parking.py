"""An event that can't be applied is kept, with its payload, its reason and its owner.

Parking is a command like any other, so it survives Postgres being away. Recorded, it is an open
exception. One is open per reason and subject, however many messages it concerns.
"""

from base64 import b64encode
from hashlib import blake2b
from typing import Final

from atp_service.catalog import Catalog
from atp_service.facts.arrival import Arrival
from atp_service.facts.canonical_events import AHEAD_MS, Unfit, is_id, tidy
from atp_service.facts.work import Ready
from atp_service.inventory.commands import Park
from atp_service.inventory.notices import owner_of

BASE64_MARK: Final = "base64:"


def park(unfit: Unfit, arrival: Arrival, catalog: Catalog, now_ms: int) -> Ready:
    """The command that keeps the event."""
    source, event_id = _key(unfit, arrival)
    feed = catalog.feeds.get(unfit.source)
    occurred_at_ms = unfit.occurred_at_ms
    if occurred_at_ms is not None and occurred_at_ms > now_ms + AHEAD_MS:
        occurred_at_ms = None
    command = Park(
        source=source,
        event_id=event_id,
        occurred_at_ms=now_ms if occurred_at_ms is None else occurred_at_ms,
        traceparent=unfit.traceparent or arrival.traceparent,
        reason=unfit.reason,
        owner=owner_of(unfit.reason, feed.owner if feed is not None else "integration"),
        subject=unfit.subject,
        detail=unfit.detail,
        payload=as_text(arrival.payload),
    )
    # An event without an id is known by its arrival, which is delivered for a short time only.
    return Ready(command, undated=occurred_at_ms is None and unfit.event_id != "")


def as_text(payload: bytes) -> str:
    """The payload as it came; marked and in base64 if it is no text for a database."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    return BASE64_MARK + b64encode(payload).decode() if "\0" in text else text


def _key(unfit: Unfit, arrival: Arrival) -> tuple[str, str]:
    """Its source and id; else how it arrived; else its content."""
    if is_id(unfit.source) and is_id(unfit.event_id):
        return unfit.source, unfit.event_id
    if not unfit.event_id:
        return tidy(unfit.subject), arrival.arrival_id
    return tidy(unfit.source), f"content/{blake2b(arrival.payload, digest_size=16).hexdigest()}"
