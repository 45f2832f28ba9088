"""A Redis of the test's own, that is copied as it runs and has its copy put in its place."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey


class Replaceable:
    """One address, and whatever answers at it."""

    def __init__(self, data: Path, program: Path | None) -> None:
        self._copy = data / "copy"
        self._valkey = Valkey(data, socket_folder(data), program)
        self._folder = self._valkey._folder
        self.url = self._valkey.url

    def copy(self) -> None:
        """Keep what is on its disk by now: what a replica has that gets no further."""
        shutil.copytree(self._folder, self._copy)

    @contextmanager
    def runs(self) -> Iterator[None]:
        """It answers; at the end, whoever answers by then is stopped."""
        with running([self._valkey]) as (self._kept,):
            yield

    def is_replaced_by_its_copy(self) -> None:
        """It dies, and what was copied answers in its place."""
        self._die()
        shutil.rmtree(self._folder)
        self._copy.rename(self._folder)
        self._kept.child = self._valkey.start()

    def dies_and_comes_back(self) -> None:
        """With all that it had."""
        self._die()
        self._kept.child = self._valkey.start()

    def _die(self) -> None:
        os.kill(self._kept.child.pid, signal.SIGKILL)
        self._kept.stop()
