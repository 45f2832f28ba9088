"""How far a rebuild is, for who started it by hand; and what it did."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from atp_service.workers.rebuild.rebuilder import Report, Stage, Unseen, View


class _Lines:
    """A line as each stage is done, and a sign of life while one is under way."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, stage: Stage, report: Report) -> None:
        self._console.print(_WORDS[stage].format(report=report), highlight=False)


_WORDS: dict[Stage, str] = {
    "fenced": "Fenced: nothing is promised until it is open again ({report.reason}).",
    "secured": "Epoch {report.epoch} begins after entry {report.from_seq:,}.",
    "filled": "Filled: {report.levels:,} levels, {report.reservations:,} reservations,"
    " {report.seen:,} remembered events and keys.",
    "applied again": "Applied again of what a fork had acknowledged: {report.fork_commands:,};"
    " no longer fits: {report.fork_conflicts:,}.",
    "replayed": "Replayed: {report.events_replayed:,} events, {report.events_news:,} of them news.",
    "open": "Open.",
}


@contextmanager
def view(console: Console, *, silent: bool) -> Iterator[View]:
    """The view that fits where the console goes."""
    if silent:
        yield Unseen()
        return
    with console.status("Rebuilding Redis from the ledger"):
        yield _Lines(console)


def table(report: Report) -> Table:
    """What was done."""
    lines = Table(title="Redis rebuilt", title_justify="left", show_header=False)
    lines.add_column()
    lines.add_column(justify="right")
    replayed = "when NATS is back"
    if report.events_replayed is not None:
        replayed = f"{report.events_replayed:,} ({report.events_news:,} news)"
    for name, value in (
        ("reason", report.reason),
        ("epoch", f"{report.epoch}"),
        ("from entry", f"{report.from_seq:,}"),
        ("levels", f"{report.levels:,}"),
        ("reservations", f"{report.reservations:,}"),
        ("orders", f"{report.orders:,}"),
        ("remembered events and keys", f"{report.seen:,}"),
        ("a fork's commands", f"{report.fork_commands:,}"),
        ("… that no longer fit", f"{report.fork_conflicts:,}"),
        ("events replayed", replayed),
        ("seconds", f"{report.seconds:,.1f}"),
    ):
        lines.add_row(name, value)
    return lines
