"""The allocator of Valkey. Its makers build it with jemalloc; the wheel uses that of libc, in which
a script spends a third of its time. So it gets mimalloc, from a wheel of its own.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata

_PRELOAD = "LD_PRELOAD"
_SEPARATORS = frozenset(" :")  # the loader ends a name at either


@cache
def mimalloc() -> str | None:
    """The path of mimalloc's shared library; None if there is no wheel for this system, or the
    loader cannot read the path."""
    try:
        files = metadata.files("cmeel-mimalloc")
    except metadata.PackageNotFoundError:
        return None
    path = next((str(f.locate()) for f in files or () if f.name == "libmimalloc.so"), None)
    return None if path is None or not _SEPARATORS.isdisjoint(path) else path


def environment() -> Mapping[str, str]:
    """The variables of a server; a preload that the user chose stays."""
    found = mimalloc()
    if found is None or _PRELOAD in os.environ:
        return os.environ
    return {**os.environ, _PRELOAD: found}
