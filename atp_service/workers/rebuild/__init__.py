"""A Redis that lost writes is rebuilt from the ledger, with nobody awake."""

from atp_service.workers.rebuild.diagnosis import NotToBeRebuilt, why
from atp_service.workers.rebuild.loop import run
from atp_service.workers.rebuild.rebuilder import Report, Tools, rebuild
from atp_service.workers.rebuild.restore import Unreadable

__all__ = [
    "NotToBeRebuilt",
    "Report",
    "Tools",
    "Unreadable",
    "rebuild",
    "run",
    "why",
]
