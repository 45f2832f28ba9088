"""Which instance runs on a data folder: one at most, and how the others find it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from atp_service.embedded.errors import CannotStart

_FILE = "instance.json"
_LOCK = "lock"


class Instance(Struct, frozen=True, kw_only=True):
    """What a running instance tells about itself; `started` tells its pid from a reused one."""

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
    """The instance that runs on `data`, or None; what a dead one left is passed over."""
    try:
        instance = msgspec.json.decode((data / _FILE).read_bytes(), type=Instance)
    except (OSError, msgspec.DecodeError):
        return None
    return instance if started_at(instance.pid) == instance.started else None


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Keep the data folder to ourselves, or refuse; the kernel lets go of it when we die."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = (data / _LOCK).open("w")
    except OSError as fault:
        raise CannotStart(
            f"{data} can't be written: {fault.strerror}", "set ATP_DATA to a folder that can"
        ) from None
    with held as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = find(data)
            where = f" (process {other.pid}, {other.url})" if other else ""
            raise CannotStart(
                f"an instance runs on {data} already{where}",
                "stop that one, or set ATP_DATA to another folder",
            ) from None
        (data / _FILE).unlink(missing_ok=True)
        yield


@contextmanager
def announced(data: Path, instance: Instance) -> Iterator[None]:
    """Let others find us for as long as we run."""
    file = data / _FILE
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(instance)))
    unfinished.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def started_at(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name is in brackets and may hold anything; field 22 is the start.
    return int(stat.rpartition(")")[2].split()[19])
