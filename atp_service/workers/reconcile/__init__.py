"""Redis compared with the ledger while selling goes on; what was changed by hand is repaired.

There are no false alarms, however fast things change: what Redis had when entry S was its latest is
compared with what the ledger has as of S. Repairs are commands, like any other change.
"""

from atp_service.workers.reconcile.loop import run, work_off
from atp_service.workers.reconcile.on_demand import reconciled

__all__ = ["reconciled", "run", "work_off"]
