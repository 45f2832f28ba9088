"""An instance to measure: real servers set up as `atp up` does, and processes of the service.

Everything is on the disk where the service keeps its data, since what a sync costs is the point.
"""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from atp_service.config import Settings, read_settings
from atp_service.embedded.fetch import fetch
from atp_service.embedded.nats import Nats
from atp_service.embedded.postgres import OWNER, SERVICE, Postgres
from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey
from atp_service.ledger import migrate
from atp_service.processes.child import Child

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0


class Instance:
    """Servers that run, and a way to start processes that use them."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self.settings: Settings = read_settings(environment)
        self._folder = folder
        self._environment = environment
        self._stack = stack

    def start(self, name: str, *arguments: str, port: int = 0, **settings: str) -> Child:
        """A Python module with arguments, as a process; it ends with the instance at the latest."""
        child = Child(
            name,
            [sys.executable, "-m", *arguments],
            log=self._folder / "logs" / f"{name}.log",
            folder=ROOT,
            environment=self._environment | {"ATP_PORT": str(port)} | settings,
        )
        self._stack.callback(child.stop)
        return child

    def serve(self, port: int) -> Child:
        """The API, ready when this returns."""
        child = self.start("serve", "atp_service", "serve", port=port)
        until(lambda: fetch(f"http://127.0.0.1:{port}/health/ready") is not None, child)
        return child

    def redis(self) -> Redis:
        """A client that waits as long as it takes; closed with the instance."""
        client = Redis.from_url(self.settings.redis_url or "")
        self._stack.callback(client.close)
        return client


@contextmanager
def instance() -> Iterator[Instance]:
    """Valkey, NATS and PostgreSQL, empty and migrated; nothing of ours runs yet."""
    with folder() as data, ExitStack() as stack:
        sockets = socket_folder(data)
        valkey, nats, postgres = Valkey(data, sockets), Nats(data), Postgres(data, sockets)
        stack.enter_context(running([valkey, nats, postgres]))
        migrate(postgres.url(OWNER), SERVICE)
        environment = {
            "ATP_DATA": str(data),
            "ATP_REDIS_URL": valkey.url,
            "ATP_NATS_URL": nats.url,
            "ATP_DATABASE_URL": postgres.url(SERVICE),
            "ATP_MIGRATION_URL": postgres.url(OWNER),
            "ATP_AUTO_CREATE": "true",
        }
        with Redis.from_url(valkey.url) as client:
            # A rewrite of the file would fall into some rounds and not into others.
            client.config_set("auto-aof-rewrite-percentage", 0)
        yield Instance(data, _without_ours() | environment, stack)


@contextmanager
def redis_alone(*, durable: bool) -> Iterator[Redis]:
    """An empty Valkey and nothing else."""
    with folder() as data:
        valkey = Valkey(data, socket_folder(data), durable=durable)
        with running([valkey]), Redis.from_url(valkey.url, protocol=2) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)
            yield client


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards, beside the service's own data."""
    parent = Path(os.environ.get("ATP_DATA") or ROOT / ".atp").absolute() / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)


def until(done: Callable[[], bool], child: Child, seconds: float = START_SECONDS) -> None:
    """Return when it is done; RuntimeError when the child ends or the time is up."""
    deadline = time.monotonic() + seconds
    while not done():
        if child.ended is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not get there:\n{child.last_words()}")
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def environment_for(data: Path) -> dict[str, str]:
    """For commands that bring their own servers, on any free ports."""
    return _without_ours() | {"ATP_DATA": str(data), "ATP_PORT": "0"}


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, all threads, user and system: its CPU clock, to the ns.

    The clock's id is what clock_getcpuclockid(3) gives.
    """
    return time.clock_gettime((~pid << 3) | 2)


def alternating(rounds: int, *kinds: Callable[[int], None]) -> None:
    """A B A B …; the first of each is to warm up, and is round -1."""
    for number in range(-1, rounds):
        for kind in kinds:
            kind(number)


def _without_ours() -> dict[str, str]:
    kept: Sequence[tuple[str, str]] = [
        (name, value) for name, value in os.environ.items() if not name.startswith("ATP_")
    ]
    return dict(kept)
