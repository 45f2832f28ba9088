"""A Redis that lost writes is rebuilt from the ledger, without a person."""

from atp_service.workers.rebuild.diagnosis import NotToBeRebuilt, why
from atp_service.workers.rebuild.loop import run
from atp_service.workers.rebuild.rebuilder import rebuild
from atp_service.workers.rebuild.report import Report
from atp_service.workers.rebuild.restore import Unreadable
from atp_service.workers.rebuild.tools import Tools

__all__ = ["NotToBeRebuilt", "Report", "Tools", "Unreadable", "rebuild", "run", "why"]
