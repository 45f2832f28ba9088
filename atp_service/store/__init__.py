"""Stock in Redis. One round trip per batch; the decisions are in inventory/lua."""

from atp_service.store.errors import Fenced, Overloaded, Unavailable, Unreadable
from atp_service.store.partition import Partition
from atp_service.store.raw_partition import Site, Superseded
from atp_service.store.reads import FEED_PREFIX, FeedSeen, as_of, readable_level
from atp_service.store.server_report import ServerReport
from atp_service.store.store import Store

__all__ = [
    "FEED_PREFIX",
    "FeedSeen",
    "Fenced",
    "Overloaded",
    "Partition",
    "ServerReport",
    "Site",
    "Store",
    "Superseded",
    "Unavailable",
    "Unreadable",
    "as_of",
    "readable_level",
]
