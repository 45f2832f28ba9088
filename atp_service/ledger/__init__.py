"""The ledger in Postgres: the journal, kept for ever, and what follows from it."""

from atp_service.ledger.append import Appender, lease
from atp_service.ledger.position import Forked, Position, Refused, Stale
from atp_service.ledger.queries import ExceptionRow, Ledger
from atp_service.ledger.rows import Batch
from atp_service.ledger.schema import migrate
from atp_service.ledger.unavailable import Unavailable

__all__ = [
    "Appender",
    "Batch",
    "ExceptionRow",
    "Forked",
    "Ledger",
    "Position",
    "Refused",
    "Stale",
    "Unavailable",
    "lease",
    "migrate",
]
