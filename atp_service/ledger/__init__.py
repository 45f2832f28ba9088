"""The ledger in Postgres: the journal, kept for ever, and what follows from it."""

from atp_service.ledger.schema import migrate
from atp_service.ledger.unavailable import Unavailable

__all__ = ["Unavailable", "migrate"]
