"""The service under rehearsal: the running one, or a temporary one if none runs.

A service that the user named and that does not answer is never replaced by another.
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
from atp_service.processes.child import Child
from atp_service.processes.instance import Instance, find
from atp_service.rehearse import CannotRehearse
from atp_service.rehearse.http_client import Address

_START_SECONDS = 120.0
_READY_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 0.1
# Settings that would lead a temporary instance to the data or the port of another.
_NOT_FOR_TEMPORARY = (
    "data", "host", "port", "redis_url", "nats_url", "database_url", "migration_url",
    "auto_create", "worker_metrics_port",
)  # fmt: skip


class Target(Struct, frozen=True, kw_only=True):
    """The addresses of the service and its ledger; without `nats_url` facts go over HTTP.

    `supervisor` is the pid of its `atp up`.
    """

    url: str
    database_url: str
    nats_url: str | None
    supervisor: int | None = None

    def is_ready(self) -> bool:
        return _is_good(f"{self.url}/health/ready")


@contextmanager
def target(settings: Settings, environment: Mapping[str, str], api: str | None) -> Iterator[Target]:
    """The service to rehearse on, ready. Raises CannotRehearse."""
    with _found(settings, environment, api) as found:
        deadline = time.monotonic() + _READY_SECONDS
        while not found.is_ready():
            if time.monotonic() > deadline:
                raise CannotRehearse(f"{found.url} is not ready: see {found.url}/health/ready")
            time.sleep(_LOOK_EVERY_SECONDS)
        yield found


@contextmanager
def _found(settings: Settings, environment: Mapping[str, str], api: str | None) -> Iterator[Target]:
    api = api.rstrip("/") if api else None
    instance = find(settings.folder)
    named = [
        variable(name)
        for name in ("host", "port", "database_url")
        if environment.get(variable(name)) and (name, settings.port) != ("port", 0)
    ]
    if instance is not None and api in (None, instance.url):
        yield _target_of(instance, settings)
    elif api is not None or named:
        yield _named(settings, api or settings.url, "--api" if api else " and ".join(named))
    else:
        with _temporary(settings, environment) as instance:
            yield _target_of(instance)


def _target_of(instance: Instance, settings: Settings | None = None) -> Target:
    """An instance as a target; URLs in the settings go before its own."""
    return Target(
        url=instance.url,
        database_url=(settings and settings.database_url) or instance.database_url,
        nats_url=(settings and settings.nats_url) or instance.nats_url,
        supervisor=instance.pid,
    )


def _named(settings: Settings, url: str, named_by: str) -> Target:
    try:
        Address.of(url)
    except ValueError as fault:
        raise CannotRehearse(f"--api {fault}") from fault
    if not _is_good(f"{url}/health/live"):
        raise CannotRehearse(f"no service answers at {url}, where {named_by} points")
    if settings.database_url is None:
        raise CannotRehearse(
            f"{variable('database_url')} is not set: the audit reads the ledger of {url} itself"
        )
    return Target(url=url, database_url=settings.database_url, nats_url=settings.nats_url)


def _is_good(url: str) -> bool:
    """True if a health check returns 2xx; a busy service may take its time."""
    try:
        return httpx2.get(url, timeout=_ANSWER_SECONDS).is_success
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False


@contextmanager
def _temporary(settings: Settings, environment: Mapping[str, str]) -> Iterator[Instance]:
    """An `atp up` without demo, on the disk of the service's data: the cost of a sync is part of
    the answer."""
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
        left_out = {variable(name) for name in _NOT_FOR_TEMPORARY}
        kept = {name: value for name, value in environment.items() if name not in left_out}
        child = Child(
            "up",
            [sys.executable, "-m", "atp_service", "up", "--no-demo", "--with-parent"],
            log=Path(folder) / "up.log",
            environment=kept | {variable("data"): os.fspath(data), variable("port"): "0"},
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while (instance := find(data)) is None:
                if child.ended is not None or time.monotonic() > deadline:
                    log = " ".join(child.last_words(2).split())
                    raise CannotRehearse(f"no service runs, and none could be started: {log}")
                time.sleep(_LOOK_EVERY_SECONDS)
            yield instance
        finally:
            child.stop(60.0)
