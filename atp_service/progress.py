"""How far a long command is: bars on a terminal, a line now and then elsewhere, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_SECONDS = 5.0

Show = Callable[[str, float | None, str], None]
"""Called with a stage, the share of it that is done (1.0 is all; None if unknown), and details."""


def unseen(stage: str, share: float | None, detail: str) -> None:
    """The progress of work that runs without an audience."""


class View:
    """What a command shows of its progress; this one shows only what it is given to print."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def show(self, stage: str, share: float | None, detail: str) -> None:
        """Show how far a stage is. See `Show`."""

    def tell(self, line: str) -> None:
        """Print a line that matters even if progress is not shown."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Lines(View):
    """A line when a stage begins or ends, and every few seconds."""

    def __init__(self, console: "Console") -> None:
        super().__init__(console)
        self._next_at = 0.0
        self._last: tuple[str, bool] | None = None

    def show(self, stage: str, share: float | None, detail: str) -> None:
        done = share is not None and share >= 1
        if (stage, done) == self._last and (done or time.monotonic() < self._next_at):
            return
        self._last, self._next_at = (stage, done), time.monotonic() + LINE_EVERY_SECONDS
        of_all = "" if share is None or done else f" ({share:.0%})"
        self.tell(f"{stage}: {detail}{of_all}")


class _Bars(View):
    """A bar for each stage, from the moment it begins."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(console)
        self.progress = Progress(
            TextColumn("{task.description:>16}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, Any] = {}

    def show(self, stage: str, share: float | None, detail: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self.progress.add_task(stage, total=None, detail="")
        total = None if share is None else 1.0
        self.progress.update(self._tasks[stage], total=total, completed=share, detail=detail)


@contextmanager
def view(console: "Console", *, silent: bool = False) -> Iterator[View]:
    """The view that fits where the console goes."""
    if silent:
        yield View(console)
    elif console.is_terminal:
        bars = _Bars(console)
        with bars.progress:
            yield bars
    else:
        yield _Lines(console)
