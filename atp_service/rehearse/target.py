"""The service a rehearsal is held on: the one that runs, or one of our own for as long as it takes.

A service that somebody pointed at and that doesn't answer is never replaced by another.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
from msgspec import Struct

from atp_service.config import Settings, variable
from atp_service.processes import instance
from atp_service.processes.child import Child
from atp_service.rehearse.errors import CannotRehearse
from atp_service.rehearse.http_client import Address

_START_SECONDS = 120.0
_READY_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 0.1
# What would lead an instance of our own to somebody else's data or door.
_NOT_OURS = (
    "data", "host", "port", "redis_url", "nats_url", "database_url", "migration_url",
    "auto_create", "worker_metrics_port",
)  # fmt: skip


class Target(Struct, frozen=True, kw_only=True):
    """Where the service is, and its ledger; facts go over HTTP where its NATS isn't known.

    `supervisor` is the process of its `atp up`.
    """

    url: str
    database_url: str
    nats_url: str | None
    supervisor: int | None

    def is_ready(self) -> bool:
        return _is_good(f"{self.url}/health/ready")


@contextmanager
def target(settings: Settings, environment: Mapping[str, str], api: str | None) -> Iterator[Target]:
    """The service to rehearse on, ready. Raises CannotRehearse."""
    found = _running(settings, environment, api)
    if found is not None:
        _wait_until_ready(found)
        yield found
        return
    with _own(settings, environment) as ours:
        _wait_until_ready(ours)
        yield ours


def _running(settings: Settings, environment: Mapping[str, str], api: str | None) -> Target | None:
    """What runs, or what was pointed at; None where nothing is named and nothing is found."""
    api = api.rstrip("/") if api else None
    there = instance.find(settings.folder)
    if there is not None and api in (None, there.url):
        return Target(
            url=there.url,
            database_url=settings.database_url or there.database_url,
            nats_url=settings.nats_url or there.nats_url,
            supervisor=there.pid,
        )
    pointed = [
        variable(name)
        for name in ("host", "port", "database_url")
        if environment.get(variable(name)) and (name, settings.port) != ("port", 0)
    ]
    if api is None and not pointed:
        return None
    url = api or f"http://{settings.host}:{settings.port}"
    try:
        Address.of(url)
    except ValueError as fault:
        raise CannotRehearse(f"--api {fault}") from fault
    why = "--api" if api else " and ".join(pointed)
    if not _is_good(f"{url}/health/live"):
        raise CannotRehearse(f"no service answers at {url}, where {why} points")
    if settings.database_url is None:
        raise CannotRehearse(
            f"{variable('database_url')} is not set: the audit reads the ledger of {url} itself"
        )
    return Target(
        url=url,
        database_url=settings.database_url,
        nats_url=settings.nats_url,
        supervisor=None,
    )


def _is_good(url: str) -> bool:
    """Whether a health check is answered with 2xx; a busy service may take its time."""
    try:
        return httpx2.get(url, timeout=_ANSWER_SECONDS).is_success
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False


def _wait_until_ready(found: Target) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not found.is_ready():
        if time.monotonic() > deadline:
            raise CannotRehearse(f"{found.url} is not ready: see {found.url}/health/ready")
        time.sleep(_LOOK_EVERY_SECONDS)


@contextmanager
def _own(settings: Settings, environment: Mapping[str, str]) -> Iterator[Target]:
    """An `atp up` without demo, on the disk where the service keeps its data: what a sync costs
    is part of the answer."""
    try:
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(
            prefix="rehearsal-", dir=settings.folder, ignore_cleanup_errors=True
        )
    except OSError as fault:
        raise CannotRehearse(
            f"no service runs, and none can be started in {settings.folder}: {fault.strerror}"
        ) from fault
    with made as folder:
        data = Path(folder) / "data"
        left_out = {variable(name) for name in _NOT_OURS}
        kept = {name: value for name, value in environment.items() if name not in left_out}
        child = Child(
            "up",
            [sys.executable, "-m", "atp_service", "up", "--no-demo", "--with-parent"],
            log=Path(folder) / "up.log",
            environment=kept | {variable("data"): os.fspath(data), variable("port"): "0"},
        )
        try:
            there = _started(child, data)
            yield Target(
                url=there.url,
                database_url=there.database_url,
                nats_url=there.nats_url,
                supervisor=there.pid,
            )
        finally:
            child.stop(60.0)


def _started(child: Child, data: Path) -> instance.Instance:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        there = instance.find(data)
        if there is not None:
            return there
        if child.ended is not None or time.monotonic() > deadline:
            said = " ".join(child.last_words(2).split())
            raise CannotRehearse(f"no service runs, and none could be started: {said}")
        time.sleep(_LOOK_EVERY_SECONDS)
