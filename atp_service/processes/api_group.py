"""Several API processes on one port, kept running until they are stopped.

Each binds the port for itself (SO_REUSEPORT) and the kernel spreads connections over them. Their
metrics lie in files of a folder that they share, so that any of them shows the sum.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, multiprocess

from atp_service.config import Settings, unusable, variable
from atp_service.processes.child import Child
from atp_service.processes.instance import started_at
from atp_service.processes.restarting_child import RestartingChild

log = structlog.get_logger()

_FOLDER = "atp-metrics"
_LOOK_EVERY_SECONDS = 0.25
_WRONG_SETTINGS = 2  # a process's exit code: a restart would not help


def serve(settings: Settings, workers: int) -> int:
    """Run so many API processes until SIGTERM or SIGINT; returns the exit code.

    Raises SettingsError if the port is taken.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _reserved(settings) as port, _folder() as counts:
        environment = os.environ | {variable("port"): str(port), "PROMETHEUS_MULTIPROC_DIR": counts}
        command = [sys.executable, "-m", "atp_service", "serve", "--one-of-several"]
        kept = [
            RestartingChild(partial(Child, f"serve-{number}", command, environment=environment))
            for number in range(workers)
        ]
        announced = False
        try:
            while not stop.wait(_LOOK_EVERY_SECONDS):
                for process in kept:
                    if process.child.ended == _WRONG_SETTINGS:
                        return _WRONG_SETTINGS
                    if process.child.ended is not None:
                        multiprocess.mark_process_dead(process.child.pid, counts)  # type: ignore[no-untyped-call]  # untyped there
                    process.look()
                if not announced and _serving(counts) == workers:
                    log.info("serving", host=settings.host, port=port, workers=workers)
                    announced = True
        finally:
            for process in kept:
                process.child.ask_to_stop()
            for process in kept:
                process.stop()
    log.info("served")
    return 0


def _serving(folder: str) -> int:
    """The number of processes that answer, of those that share the folder."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # untyped there
    return int(registry.get_sample_value("atp_serving") or 0)


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for the processes' metrics. Its name carries the owner's pid and start: the next
    service finds and removes one that a killed service could not."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}-*-*-*"):
        pid, started = left.name.removeprefix(f"{_FOLDER}-").split("-")[:2]
        if not pid.isdecimal() or str(started_at(int(pid))) != started:
            shutil.rmtree(left, ignore_errors=True)
    ours = f"{_FOLDER}-{os.getpid()}-{started_at(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=ours) as folder:
        yield folder


@contextmanager
def _reserved(settings: Settings) -> Iterator[int]:
    """The port, kept for us without listening on it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as reserved:
        try:
            # Not yet shared, so the bind fails if another service has the port.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((settings.host, settings.port))
        except OSError as fault:
            raise unusable("port", settings.port, str(fault.strerror)) from None
        port: int = reserved.getsockname()[1]
    with socket.socket(family) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((settings.host, port))
        yield port
