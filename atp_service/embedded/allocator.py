"""The allocator Valkey runs on. Its makers build it with jemalloc; the wheel is built with libc's,
and there a script spends a third of its time. So it gets mimalloc, from a wheel of its own.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata

_PRELOAD = "LD_PRELOAD"
_SEPARATORS = frozenset(" :")  # the loader ends a name at either


@cache
def mimalloc() -> str | None:
    """The path of mimalloc's shared library; None where the wheel isn't made for the system, or
    the loader couldn't be told the path."""
    try:
        files = metadata.files("cmeel-mimalloc")
    except metadata.PackageNotFoundError:
        return None
    path = next((str(f.locate()) for f in files or () if f.name == "libmimalloc.so"), None)
    return None if path is None or not _SEPARATORS.isdisjoint(path) else path


def environment() -> Mapping[str, str]:
    """What a server is started with. What somebody has chosen to preload stays as it is."""
    found = mimalloc()
    if found is None or _PRELOAD in os.environ:
        return os.environ
    return {**os.environ, _PRELOAD: found}
