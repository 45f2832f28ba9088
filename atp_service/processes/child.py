"""A process that ends with us, however we end.

Children live in sessions of their own, so that a Ctrl-C reaches only us and we stop them in order;
and the kernel signals them when we die, so that a `kill -9` leaves none of them behind.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LOG_KEPT_BYTES = 10 * 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, by: signal.Signals) -> None:
    """Have the kernel send us `by` when the thread that started us is gone; now, if it already is.

    A change of user clears it, and the parent's *thread* is what counts: start children from the
    main thread.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(by)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


class Child:
    """One started process; its log is a file, or ours if it has none."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stopped_by: signal.Signals = signal.SIGTERM,
        orphaned_by: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start `command` in `folder`; `orphaned_by` is the signal it gets when we die."""
        self.name = name
        self.log = log
        self._stopped_by = stopped_by
        parent = os.getpid()
        with nullcontext() if log is None else _opened(log) as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent, orphaned_by),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if self.ended is None:
            self._process.send_signal(self._stopped_by)

    def stop(self, patience_seconds: float = 15.0) -> None:
        """Ask it to stop, and kill it if it doesn't in time."""
        self.ask_to_stop()
        try:
            self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for an error about its start; empty if it has none."""
        if self.log is None:
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _opened(log: Path) -> IO[bytes]:
    """The log to append to; a new file if the old one has grown large: one old file is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")
