"""A Redis that lost writes is rebuilt from the ledger, with nobody awake."""

from atp_service.rebuild.filling import Unreadable
from atp_service.rebuild.need import NotToBeRebuilt, why
from atp_service.rebuild.rebuilder import Report, Stage, Tools, View, rebuild
from atp_service.rebuild.watch import run

__all__ = [
    "NotToBeRebuilt",
    "Report",
    "Stage",
    "Tools",
    "Unreadable",
    "View",
    "rebuild",
    "run",
    "why",
]
