"""Stock in Redis. One round trip per batch; the decisions are in inventory/lua."""

from atp_service.store.errors import Fenced, Overloaded, Unavailable, Unreadable
from atp_service.store.store import (
    FEED_PREFIX,
    FeedSeen,
    ServerReport,
    Store,
    as_of,
    readable_level,
)

__all__ = [
    "FEED_PREFIX",
    "FeedSeen",
    "Fenced",
    "Overloaded",
    "ServerReport",
    "Store",
    "Unavailable",
    "Unreadable",
    "as_of",
    "readable_level",
]
