"""What can't be applied is kept: with its payload, its reason, and whom it concerns.

Parking is a command like any other, so it survives Postgres being away; recorded, it is an open
exception. One is open per reason and subject, however many messages it holds up.
"""

from base64 import b64encode
from hashlib import blake2b
from typing import Final

from atp_service.facts.canonical_events import Unfit, is_id, tidy
from atp_service.inventory.commands import Park
from atp_service.inventory.notices import owner_of

BASE64_MARK: Final = "base64:"


def park(unfit: Unfit, payload: bytes, *, arrival_id: str, now_ms: int, feed_owner: str) -> Park:
    """The command that keeps it."""
    source, event_id = _key(unfit, payload, arrival_id)
    return Park(
        source=source,
        event_id=event_id,
        occurred_at_ms=now_ms if unfit.occurred_at_ms is None else unfit.occurred_at_ms,
        traceparent=unfit.traceparent,
        reason=unfit.reason,
        owner=owner_of(unfit.reason, feed_owner),
        subject=unfit.subject,
        detail=unfit.detail,
        payload=as_text(payload),
    )


def as_text(payload: bytes) -> str:
    """The payload as it came, or marked and in base64 where that is no text for a database."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    return BASE64_MARK + b64encode(payload).decode() if "\0" in text else text


def _key(unfit: Unfit, payload: bytes, arrival_id: str) -> tuple[str, str]:
    """Known by its source and id, else by how it arrived, else by its content."""
    if is_id(unfit.source) and is_id(unfit.event_id):
        return unfit.source, unfit.event_id
    if not unfit.event_id:
        return tidy(unfit.subject), arrival_id
    return tidy(unfit.source), f"content/{blake2b(payload, digest_size=16).hexdigest()}"
