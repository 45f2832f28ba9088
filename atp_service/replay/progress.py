"""How far a replay is: bars on a terminal, a line now and then elsewhere, or nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Stage = Literal["published", "taken by ingest", "in the ledger"]
STAGES: tuple[Stage, ...] = ("published", "taken by ingest", "in the ledger")

LINE_EVERY_SECONDS = 5.0


class View(Protocol):
    """Who watches a replay. `tell` is for what has to be known even when nobody watches."""

    def show(self, stage: Stage, share: float, count: int) -> None: ...

    def tell(self, line: str) -> None: ...


class Bars:
    """A bar for each stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.progress = Progress(
            TextColumn("{task.description:>16}"),
            BarColumn(),
            TextColumn("{task.percentage:>4.0f} %"),
            TextColumn("{task.fields[count]:>10,}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[Stage, TaskID] = {
            stage: self.progress.add_task(stage, total=1.0, count=0) for stage in STAGES
        }

    def show(self, stage: Stage, share: float, count: int) -> None:
        self.progress.update(self._tasks[stage], completed=share, count=count)

    def tell(self, line: str) -> None:
        self._console.print(line, style="yellow", highlight=False, soft_wrap=True)


class Lines:
    """A line every few seconds, and one when a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = time.monotonic() + LINE_EVERY_SECONDS
        self._done: set[Stage] = set()

    def show(self, stage: Stage, share: float, count: int) -> None:
        done = share >= 1 and stage not in self._done
        if done:
            self._done.add(stage)
        elif time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + LINE_EVERY_SECONDS
        self.tell(f"{stage}: {count:,} ({share:.0%})")

    def tell(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class Silence:
    """Only what has to be known."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, stage: Stage, share: float, count: int) -> None:
        """Nobody watches."""

    def tell(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def view(console: Console, *, silent: bool) -> Iterator[View]:
    """The view that fits where the console goes."""
    if silent:
        yield Silence(console)
    elif console.is_terminal:
        bars = Bars(console)
        with bars.progress:
            yield bars
    else:
        yield Lines(console)
