"""The report of a rebuild."""

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from rich.table import Table


class Report(Struct, kw_only=True):
    """How much was put back, and applied on top of it. `seen` counts dedupe marks;
    `events_replayed` is None if the replay is put off."""

    reason: str
    epoch: int
    from_seq: int
    levels: int = 0
    reservations: int = 0
    orders: int = 0
    seen: int = 0
    fork_commands: int = 0
    fork_conflicts: int = 0
    events_replayed: int | None = None
    events_news: int = 0
    seconds: float = 0.0


def table(report: Report) -> "Table":
    """The report for the terminal."""
    from rich.table import Table

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
