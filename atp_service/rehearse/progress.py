"""How far a rehearsal is: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from atp_service.rehearse.generator import Told

_LINE_EVERY_SECONDS = 5.0


class View(Protocol):
    """Who watches a rehearsal."""

    def tell(self, line: str) -> None: ...

    def show(self, told: Told, seconds: float) -> None: ...


class Bar:
    """A bar for the sale, with what has happened so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
        )
        self._task = self.progress.add_task("seeding", total=1.0, said="")

    def tell(self, line: str) -> None:
        self._console.print(line, style="dim", highlight=False, soft_wrap=True)

    def show(self, told: Told, seconds: float) -> None:
        self.progress.update(
            self._task,
            description=told.phase,
            completed=min(1.0, told.at / seconds),
            said=_said(told),
        )


class Lines:
    """A line now and then, and one for each phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0
        self._phase = ""

    def tell(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def show(self, told: Told, seconds: float) -> None:
        now = time.monotonic()
        if told.phase != self._phase or now >= self._next_at:
            self._phase, self._next_at = told.phase, now + _LINE_EVERY_SECONDS
            self.tell(f"{told.phase}, {told.at:.0f} of {seconds:.0f} s: {_said(told)}")


@contextmanager
def view(console: Console) -> Iterator[View]:
    """The view that fits where the console goes."""
    if console.is_terminal:
        bar = Bar(console)
        with bar.progress:
            yield bar
    else:
        yield Lines(console)


def _said(told: Told) -> str:
    said = (
        f"{told.arrived:,} came, {told.under_way:,} inside, {told.held:,} held, "
        f"{told.refused:,} refused"
    )
    return f"{said}, {told.faults:,} tried again" if told.faults else said
