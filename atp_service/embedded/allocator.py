"""The allocator Valkey runs on. Its makers build it with jemalloc; the wheel is built with libc's,
and there a script spends a third of its time. Where the machine has a better one, it gets that.
"""

import os
from collections.abc import Mapping
from ctypes.util import find_library
from functools import cache

_PRELOAD = "LD_PRELOAD"
_KNOWN = ("jemalloc", "mimalloc")  # both stand a fork in the middle of anything


@cache
def installed() -> str | None:
    """The first of them that the machine's linker knows, by its soname."""
    return next(filter(None, map(find_library, _KNOWN)), None)


def environment() -> Mapping[str, str]:
    """What a server is started with. What somebody has chosen to preload stays as it is."""
    library = installed()
    if library is None or _PRELOAD in os.environ:
        return os.environ
    return {**os.environ, _PRELOAD: library}
