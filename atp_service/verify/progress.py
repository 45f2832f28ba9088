"""How far verifying is: a bar on a terminal, a line now and then elsewhere, or nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from atp_service.verify.parallel import Progress as Watching

LINE_EVERY_SECONDS = 5.0


class _Bar:
    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description:>11}"),
            BarColumn(),
            TextColumn("{task.completed:>12,.0f} of {task.total:,.0f}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self.progress.add_task("entries", total=0)

    def begin(self, entries: int) -> None:
        self.progress.update(self._task, total=entries)

    def walked(self, entries: int) -> None:
        self.progress.advance(self._task, entries)

    def stage(self, name: str) -> None:
        self.progress.update(self._task, description=name)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = time.monotonic() + LINE_EVERY_SECONDS
        self._entries = 0
        self._walked = 0

    def begin(self, entries: int) -> None:
        self._entries = entries

    def walked(self, entries: int) -> None:
        self._walked += entries
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + LINE_EVERY_SECONDS
            self._say(f"{self._walked:,} of {self._entries:,} entries")

    def stage(self, name: str) -> None:
        self._say(f"{self._walked:,} entries walked; {name}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class Silence:
    """Nobody watches."""

    def begin(self, entries: int) -> None: ...

    def walked(self, entries: int) -> None: ...

    def stage(self, name: str) -> None: ...


@contextmanager
def view(console: Console, *, silent: bool) -> Iterator[Watching]:
    """The view that fits where the console goes."""
    if silent:
        yield Silence()
    elif console.is_terminal:
        bar = _Bar(console)
        with bar.progress:
            yield bar
    else:
        yield _Lines(console)
