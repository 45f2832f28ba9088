"""`atp up` as a person starts it: a process with an environment, a log and a data folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from atp_service.processes.instance import Instance, find

PATIENCE_SECONDS = 90.0


def until(true: Callable[[], object], what: str) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


class Up:
    """One `atp up`, from its start to its end."""

    def __init__(self, data: Path, *options: str, **settings: str) -> None:
        self.data = data
        self.output = data.parent / f"{data.name}.out"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "atp_service", "up", *options],
                env=environment(ATP_DATA=str(data), ATP_PORT="0", **settings),
                stdout=output,
                stderr=output,
            )

    def runs(self) -> Instance:
        """What it says about itself, once all of it runs."""
        until(lambda: find(self.data) or self.process.poll() is not None, "a start")
        instance = find(self.data)
        assert instance is not None, self.output.read_text()
        return instance

    def stop(self, by: signal.Signals) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE_SECONDS)

    def processes(self) -> dict[int, str]:
        """Everything that still runs on its data, itself included: servers and our own."""
        found = {}
        for process in Path("/proc").iterdir():
            try:
                if not process.name.isdigit() or _is_dead(process):
                    continue
                folder = str((process / "cwd").readlink())
                settings = (process / "environ").read_bytes().split(b"\0")
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:  # it has ended meanwhile, or belongs to somebody else
                continue
            on_data = folder.startswith(f"{self.data}/")
            if on_data or f"ATP_DATA={self.data}".encode() in settings:
                found[int(process.name)] = command.decode()
        return found


def environment(**settings: str) -> dict[str, str]:
    """Ours without any setting, and then these."""
    return {k: v for k, v in os.environ.items() if not k.startswith("ATP_")} | settings


def _is_dead(process: Path) -> bool:
    # What nobody has waited for yet is still listed.
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
