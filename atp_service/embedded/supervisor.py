"""The whole service on one machine: servers, worker, API and demo, kept running until stopped."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from atp_service.config import Settings, variable
from atp_service.embedded.data_lock import only_one
from atp_service.embedded.errors import CannotStart
from atp_service.embedded.fetch import fetch
from atp_service.embedded.nats import Nats
from atp_service.embedded.panel import InstancePanel
from atp_service.embedded.postgres import OWNER, SERVICE, Postgres
from atp_service.embedded.servers import running, socket_folder, wait_until_ready
from atp_service.embedded.valkey import Valkey
from atp_service.ledger import migrate
from atp_service.postgres import TooOld
from atp_service.processes.child import Child
from atp_service.processes.instance import Instance, announced, started_at
from atp_service.processes.restarting_child import RestartingChild

_LOOK_EVERY_SECONDS = 0.25
_REACH_SECONDS = 3.0


def up(settings: Settings, panel: InstancePanel, *, demo: bool) -> None:
    """Run everything until a signal stops it. Raises CannotStart."""
    data = settings.folder
    with _until_stopped(), only_one(data), ExitStack() as stack:
        _check_reached("redis_url", settings.redis_url, 6379)
        _check_reached("nats_url", settings.nats_url, 4222)
        redis, nats, postgres = _servers(settings)
        ours = [server for server in (redis, nats, postgres) if not isinstance(server, str)]
        panel.step("servers")
        # Stopped in the opposite order: a client before its server.
        children = list(stack.enter_context(running(ours)))
        panel.step("migrations")
        database_url = postgres if isinstance(postgres, str) else postgres.url(SERVICE)
        owner_url = database_url if isinstance(postgres, str) else postgres.url(OWNER)
        instance = Instance(
            pid=os.getpid(),
            started=started_at(os.getpid()) or 0,
            url=_http(settings.host, settings.port, "port"),
            worker_metrics_url=_http(
                settings.host, settings.worker_metrics_port or 0, "worker_metrics_port"
            ),
            redis_url=redis if isinstance(redis, str) else redis.url,
            nats_url=nats if isinstance(nats, str) else nats.url,
            database_url=database_url,
            migration_url=settings.migration_url or owner_url,
            # With a database of ours the master data is ours too: it may grow by itself.
            auto_create=not isinstance(postgres, str)
            if settings.auto_create is None
            else settings.auto_create,
            durability=settings.durability,
        )
        _migrate(instance)
        environment, live = _environment(settings, instance), f"{instance.url}/health/live"
        for command in ("worker", "serve", "demo") if demo else ("worker", "serve"):
            panel.step(command)
            process = RestartingChild(partial(_start, command, data, environment))
            stack.callback(process.stop)
            children.append(process)
            if command == "serve":
                wait_until_ready(process, lambda: fetch(live) is not None, restarts=2)
        stack.enter_context(announced(data, instance))
        panel.running(instance, data)
        while True:
            for process in children:
                process.look()
            panel.look(children)
            time.sleep(_LOOK_EVERY_SECONDS)


class _Stopped(BaseException):
    """A signal to stop came: like KeyboardInterrupt, at any moment."""


@contextmanager
def _until_stopped() -> Iterator[None]:
    """End quietly at Ctrl-C or SIGTERM; a second one changes nothing."""

    def stop(*_: object) -> None:
        for number in stoppers:
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    stoppers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in stoppers}
    try:
        with suppress(_Stopped):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _servers(settings: Settings) -> tuple[str | Valkey, str | Nats, str | Postgres]:
    """For each server its address, if a setting names one; else a server of ours."""
    data = settings.folder
    sockets = socket_folder(data)
    return (
        settings.redis_url or Valkey(data, sockets, settings.redis_server),
        settings.nats_url or Nats(data, settings.nats_server),
        settings.database_url or Postgres(data, sockets, settings.postgres_server),
    )


def _check_reached(setting: str, url: str | None, default_port: int) -> None:
    """Raise CannotStart if a named server is away; migrating it tries the database."""
    if url is None:
        return
    # The servers of a NATS cluster are separated by commas: the first stands for all.
    address = urlsplit(url.partition(",")[0])
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address.path)
        else:
            where = (address.hostname or "127.0.0.1", address.port or default_port)
            socket.create_connection(where, timeout=_REACH_SECONDS).close()
    except (OSError, ValueError) as fault:
        raise CannotStart(
            f"the server that {variable(setting)} names can't be reached: {fault}",
            f"set {variable(setting)} to one that runs, or unset it to have one started",
        ) from None


def _http(host: str, port: int, setting: str) -> str:
    """The URL to serve on; port 0 becomes a free one. Raises CannotStart if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server does: old connections that linger do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"port {port} of {host} is taken or unavailable: {error.strerror}",
                f"set {variable(setting)} to another port, or to 0 for any that is free",
            ) from None
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{probe.getsockname()[1]}"


def _migrate(instance: Instance) -> None:
    role = conninfo_to_dict(instance.database_url).get("user")
    try:
        migrate(instance.migration_url, str(role) if role else None)
    except TooOld as fault:
        raise CannotStart(str(fault)) from None
    except psycopg.Error as error:
        raise CannotStart(
            f"the database could not be migrated: {str(error).strip()}",
            "set ATP_DATABASE_URL to a database that is up, "
            "and ATP_MIGRATION_URL to the role that owns its tables",
        ) from None


def _environment(settings: Settings, instance: Instance) -> Mapping[str, str]:
    """The variables of our own processes: all that was decided here, so they decide nothing."""
    decided = {
        "data": str(settings.folder),
        "port": instance.url.rpartition(":")[2],
        "worker_metrics_port": instance.worker_metrics_url.rpartition(":")[2],
        "redis_url": instance.redis_url,
        "nats_url": instance.nats_url,
        "database_url": instance.database_url,
        "auto_create": str(instance.auto_create).lower(),
    }
    return os.environ | {variable(name): value for name, value in decided.items()}


def _start(command: str, data: Path, environment: Mapping[str, str]) -> Child:
    return Child(
        command,
        [sys.executable, "-m", "atp_service", command],
        log=data / "logs" / f"{command}.log",
        environment=environment,
    )
