"""The ledger in Postgres: the journal, kept for ever, and what follows from it."""

from atp_service.ledger.ledger import ExceptionRow, Ledger
from atp_service.ledger.position import Forked, NotRecorded, Position, Refused, Stale
from atp_service.ledger.schema import check_ledger, migrate
from atp_service.ledger.write.appender import Appender, lease
from atp_service.ledger.write.batch import Batch

__all__ = [
    "Appender",
    "Batch",
    "ExceptionRow",
    "Forked",
    "Ledger",
    "NotRecorded",
    "Position",
    "Refused",
    "Stale",
    "check_ledger",
    "lease",
    "migrate",
]
