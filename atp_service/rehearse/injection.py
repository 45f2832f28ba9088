"""A fault's strike at its time in the sale."""

import threading
import time
from collections.abc import Callable

from atp_service.rehearse.errors import CannotRehearse
from atp_service.rehearse.faults import Victim
from atp_service.rehearse.generator import Progress
from atp_service.rehearse.measures import FaultWindow
from atp_service.rehearse.scenario import Scenario
from atp_service.rehearse.verdict import Recovery

# Early in the plateau, while there is still something to sell.
_STRIKES_AT = 0.03
_PAUSE_SHARE = 0.1
_SETTLING_SECONDS = 1.0  # the backlog of a fault, once the service is ready


class Injection:
    """A strike on a victim, on a thread of its own once it is due.

    After `finish` it has the window of the fault's effects and the service's recovery.
    """

    def __init__(self, victim: Victim, scenario: Scenario, ready: Callable[[], bool]) -> None:
        plateau = scenario.plateau
        self._victim = victim
        self._ready = ready
        self._due = scenario.begin_of(plateau) + _STRIKES_AT * plateau.seconds
        self._pause_seconds = max(1.0, _PAUSE_SHARE * plateau.seconds)
        self._thread: threading.Thread | None = None
        self.window: FaultWindow | None = None
        self.recovery: Recovery | None = None

    def strike_if_due(self, progress: Progress) -> None:
        """Strike, the first time that the sale is far enough."""
        if self._thread is None and progress.at >= self._due:
            self._thread = threading.Thread(target=self._strike, args=(progress.clock_at,))
            self._thread.start()

    def finish(self) -> None:
        """Wait for the recovery. Raises CannotRehearse if the sale was over before the strike."""
        if self._thread is None:
            raise CannotRehearse("the plateau was over before the fault could strike")
        self._thread.join()

    def _strike(self, clock_at: float) -> None:
        began = time.monotonic() - clock_at
        seconds = self._victim.strike(self._pause_seconds, self._ready)
        ended = time.monotonic() - clock_at + _SETTLING_SECONDS
        self.window = FaultWindow(self._victim.fault, began, ended)
        self.recovery = Recovery(self._victim.fault, seconds)
