"""Servers that a killed supervisor left: they end before the next one opens the same files.

They got a signal when it died, but may take a moment to end. Their working folder, which is their
data folder, identifies them: the number in a pid file may belong to another process by now.
"""

import os
import signal
import time
from pathlib import Path

_PATIENCE_SECONDS = 10.0


def end_orphans(folder: Path) -> None:
    """Wait until no process works in `folder`, and kill those that stay; we hold its lock."""
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
            # It has ended meanwhile, or belongs to another user.
            continue
    return found
