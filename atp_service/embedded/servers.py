"""The three servers together: started at once, ready together, stopped in order."""

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from atp_service.embedded.errors import CannotStart
from atp_service.processes.child import Child
from atp_service.processes.restarting_child import RestartingChild

# A socket's path has 107 bytes; the longest name of ours is `.s.PGSQL.5432.lock`.
_SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.5432.lock")
_START_SECONDS = 30.0


class Server(Protocol):
    """The parts that all three have in common."""

    def start(self) -> Child: ...
    def ready(self) -> bool: ...


@contextmanager
def running(servers: Sequence[Server]) -> Iterator[list[RestartingChild]]:
    """The servers, ready; stopped in reverse order in the end. Raises CannotStart."""
    with ExitStack() as stack:
        started = []
        for server in servers:
            child = RestartingChild(server.start)
            stack.callback(child.stop)
            started.append(child)
        for server, child in zip(servers, started, strict=True):
            wait_until_ready(child, server.ready)
        yield started


def socket_folder(data: Path) -> Path:
    """A folder for sockets that only we may enter, with a path that is short enough.

    Raises CannotStart if it belongs to another user.
    """
    folder = data.resolve() / "run"
    if len(os.fsencode(folder)) > _SOCKET_FOLDER_BYTES:
        name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"atp-{os.geteuid()}-{name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise CannotStart(f"{folder} belongs to another user", "set ATP_DATA to a shorter path")
    folder.chmod(0o700)
    return folder


def wait_until_ready(
    process: RestartingChild, ready: Callable[[], bool], *, restarts: int = 0
) -> None:
    """Wait for a process, which may be restarted so often meanwhile. Raises CannotStart."""
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        child = process.child
        if child.ended is not None and process.restarts >= restarts:
            raise CannotStart(
                f"{child.name} stopped while starting (exit code {child.ended}):\n"
                f"{child.last_words()}",
                f"its log is {child.log}",
            )
        if time.monotonic() > deadline:
            raise CannotStart(
                f"{child.name} was not ready after {_START_SECONDS:.0f} s:\n{child.last_words()}",
                f"its log is {child.log}",
            )
        process.look()
        time.sleep(0.02)
