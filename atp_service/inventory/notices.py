"""Exceptions: each kind, and the owner who can act on it (api.md, 3 Facts)."""

from collections.abc import Mapping
from typing import Final

from atp_service.identifiers import Owner

DRIFT: Final = "drift"
FORK_CONFLICT: Final = "fork-conflict"

# None: the owner of the feed that it came with.
OWNERS: Final[Mapping[str, Owner | None]] = {
    # The stock itself opens them.
    "negative-stock": "stores",
    "negative-state": "stores",
    "transfer-difference": "fulfilment",
    "already-fulfilled": "fulfilment",
    "snapshot-difference": "finance",
    DRIFT: "integration",
    # A message could not be applied, and is parked.
    "unknown-sku": "ecommerce",
    "unknown-unit": "ecommerce",
    "unknown-location": "fulfilment",
    "unknown-type": None,
    "malformed": None,
    "invalid": None,
    "future-time": None,
    "no-adapter": None,
    "faulted": None,
    # A rebuild can't apply again a command that a lost Redis had acknowledged.
    FORK_CONFLICT: "ecommerce",
}


def owner_of(kind: str, feed_owner: str = "integration") -> str:
    """The owner of an exception. A kind without one, or of another version: the feed's owner."""
    return OWNERS.get(kind) or feed_owner
