"""A process that is kept running: if it dies it is restarted, later each time it dies soon."""

import time
from collections.abc import Callable

import structlog

from atp_service.processes.child import Child

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 15.0
_STEADY_SECONDS = 30.0

log = structlog.get_logger()


class RestartingChild:
    """Starts a process now, and restarts it from `look` if it has ended."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self.restarts = 0
        self._start = start
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._due: float | None = None
        self._begin()

    def look(self) -> None:
        """Restart it if it has ended and its time has come. Called every so often."""
        if self.child.ended is None:
            return
        now = time.monotonic()
        if self._due is None:
            if now - self._begun > _STEADY_SECONDS:
                self._wait_seconds = _FIRST_WAIT_SECONDS
            self._due = now + self._wait_seconds
            where = {} if self.child.log is None else {"log": str(self.child.log)}
            log.warning(
                "child_ended",
                child=self.child.name,
                exit_code=self.child.ended,
                restart_in_seconds=self._wait_seconds,
                **where,
            )
            self._wait_seconds = min(self._wait_seconds * 2, _LONGEST_WAIT_SECONDS)
        elif now >= self._due:
            self._due = None
            self.restarts += 1
            self._begin()

    def stop(self) -> None:
        self.child.stop()

    def _begin(self) -> None:
        self.child = self._start()
        self._begun = time.monotonic()
