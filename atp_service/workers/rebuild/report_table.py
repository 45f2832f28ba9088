"""What a rebuild did, as a table for the terminal."""

from rich.table import Table

from atp_service.workers.rebuild.rebuilder import Report


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
