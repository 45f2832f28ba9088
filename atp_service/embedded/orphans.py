"""Servers that a killed supervisor left: gone before the next one opens the same files.

They got their signal when it died, but may take a moment to go. Servers run with their data folder
as working folder, which is how they are known: a number in a pid file may be anybody's by now.
"""

import os
import signal
import time
from pathlib import Path

_PATIENCE_SECONDS = 10.0


def end_leftovers(folder: Path) -> None:
    """Wait until no process works in `folder`; the lock on the data is ours, so none should."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while left := _working_in(folder):
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _working_in(folder: Path) -> list[int]:
    where = os.fspath(folder.resolve())
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if str((process / "cwd").readlink()) == where:
                found.append(int(process.name))
        except OSError:
            # It has gone meanwhile, or belongs to somebody else.
            continue
    return found
