"""Verification of the ledger: each entry follows from those before, and all else from entries."""

from atp_service.verify.progress import Progress
from atp_service.verify.run import Verification
from atp_service.verify.verdict import Verdict, shown, table

__all__ = ["Progress", "Verdict", "Verification", "shown", "table"]
