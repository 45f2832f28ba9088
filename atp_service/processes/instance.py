"""The instance that runs on a data folder, as the other commands find it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

_FILE = "instance.json"


class Instance(Struct, frozen=True, kw_only=True):
    """The addresses and settings of a running instance. `pid` is its `atp up`; `started` is when
    that process started, in the kernel's ticks: a pid may be reused."""

    pid: int
    started: int
    url: str
    worker_metrics_url: str
    redis_url: str
    nats_url: str
    database_url: str
    migration_url: str
    auto_create: bool
    durability: Literal["redis", "ledger"]


def find(data: Path) -> Instance | None:
    """The instance that runs on `data`, or None; the file of a dead one is passed over."""
    try:
        instance = msgspec.json.decode((data / _FILE).read_bytes(), type=Instance)
    except (OSError, msgspec.DecodeError):
        return None
    return instance if started_at(instance.pid) == instance.started else None


@contextmanager
def announced(data: Path, instance: Instance) -> Iterator[None]:
    """Let other commands find `instance` until this is left. `data` must be locked."""
    file = data / _FILE
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(instance)))
    unfinished.replace(file)
    try:
        yield
    finally:
        forget(data)


def forget(data: Path) -> None:
    """Remove the file by which an instance on `data` is found."""
    (data / _FILE).unlink(missing_ok=True)


def started_at(pid: int) -> int | None:
    """The start of a process in the kernel's ticks; None if there is no such process."""
    fields = stat_of(pid)
    return int(fields[19]) if fields else None


def stat_of(pid: int) -> list[str]:
    """A process's fields in the kernel's `stat` from its state on; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    # The command's name is in brackets and may hold anything.
    return stat.rpartition(")")[2].split()
