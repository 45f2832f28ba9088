"""The lock on a data folder: at most one instance runs on it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atp_service.embedded.errors import CannotStart
from atp_service.processes.instance import find, forget

_LOCK = "lock"


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Lock the data folder until this is left; the kernel unlocks it if we die.

    Raises CannotStart if another instance has the lock or the folder can't be written.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data / _LOCK).open("w")
    except OSError as fault:
        raise CannotStart(
            f"{data} can't be written: {fault.strerror}", "set ATP_DATA to a folder that can"
        ) from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = find(data)
            where = f" (process {other.pid}, {other.url})" if other else ""
            raise CannotStart(
                f"an instance runs on {data} already{where}",
                "stop that one, or set ATP_DATA to another folder",
            ) from None
        forget(data)
        yield
