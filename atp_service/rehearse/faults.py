"""Faults: a child of a running `atp up` is killed, or stopped for a while, during the sale."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct

from atp_service.processes.instance import stat_of
from atp_service.rehearse import CannotRehearse

if TYPE_CHECKING:
    from atp_service.rehearse.generator import Progress
    from atp_service.rehearse.scenario import Scenario

Fault = Literal["kill-redis", "kill-worker", "kill-api", "pause-postgres", "pause-nats"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

# Early in the plateau, while there is still something to sell.
_STRIKES_AT = 0.03
_PAUSE_SHARE = 0.1
_SETTLING_SECONDS = 1.0  # the backlog of a fault, once the service is ready
_COMMANDS = {"worker": b"worker", "api": b"serve"}
_PROGRAMS = {
    "redis": ("valkey-server", "redis-server"),
    "nats": ("nats-server",),
    "postgres": ("postgres",),
}
_PATIENCE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.05


class FaultWindow(Struct, frozen=True):
    """The time in which a fault had effects, in seconds from the start."""

    name: str
    begins_at: float
    ends_at: float

    def overlaps(self, begin: float, end: float) -> bool:
        return begin <= self.ends_at and end >= self.begins_at


class Recovery(Struct, frozen=True):
    """Seconds from a fault until the service was ready; None if it was not within a minute."""

    fault: str
    seconds: float | None


class Injection:
    """A fault's strike on a supervisor's child, on a thread of its own once it is due.

    After `finish` it has the window of the fault's effects and the service's recovery. Raises
    CannotRehearse if there is no such child.
    """

    def __init__(
        self, fault: Fault, supervisor: int | None, scenario: "Scenario", ready: Callable[[], bool]
    ) -> None:
        plateau = scenario.plateau
        self._fault = fault
        self._supervisor = supervisor
        self._ready = ready
        self._due = scenario.begin_of(plateau) + _STRIKES_AT * plateau.seconds
        self._pause_seconds = max(1.0, _PAUSE_SHARE * plateau.seconds)
        self._thread: threading.Thread | None = None
        self.window: FaultWindow | None = None
        self.recovery: Recovery | None = None
        if supervisor is None or self._find() is None:
            raise CannotRehearse(
                f"--fault {fault} needs an `atp up` that runs it as a child of its own, on this"
                " machine"
            )

    def strike_if_due(self, progress: "Progress") -> None:
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
        """Kill or pause the child, and wait until the service is ready, a minute at most."""
        began = time.monotonic()
        seconds = None
        if (pid := self._find()) is not None:
            if self._fault.startswith("kill"):
                os.kill(pid, signal.SIGKILL)
            else:
                _pause(pid, self._pause_seconds)
            while seconds is None and time.monotonic() < began + _PATIENCE_SECONDS:
                if self._is_back(pid) and self._ready():
                    seconds = time.monotonic() - began
                else:
                    time.sleep(_LOOK_EVERY_SECONDS)
        ended = time.monotonic() - clock_at + _SETTLING_SECONDS
        self.window = FaultWindow(self._fault, began - clock_at, ended)
        self.recovery = Recovery(self._fault, seconds)

    def _is_back(self, struck: int) -> bool:
        found = self._find()
        return found is not None and (found != struck or self._fault.startswith("pause"))

    def _find(self) -> int | None:
        wanted = self._fault.partition("-")[2]
        children = _children(self._supervisor or 0)
        return next((pid for pid in children if _is(pid, wanted)), None)


def _is(pid: int, wanted: str) -> bool:
    try:
        program = Path(f"/proc/{pid}/comm").read_text().strip()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if wanted in _COMMANDS:
        return _COMMANDS[wanted] in words
    return program in _PROGRAMS[wanted]


def _pause(pid: int, seconds: float) -> None:
    """Stop a process and all its descendants for a while; the process first, so that it starts no
    more of them."""
    stopped = []
    try:
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)
        for one in _descendants(pid):
            os.kill(one, signal.SIGSTOP)
            stopped.append(one)
        time.sleep(seconds)
    finally:
        for one in reversed(stopped):
            os.kill(one, signal.SIGCONT)


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            match stat_of(int(process.name)):
                case [state, parent, *_] if int(parent) == pid and state != "Z":
                    found.append(int(process.name))
    return found
