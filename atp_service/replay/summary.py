"""What a replay did, in numbers: for people and for programs."""

from msgspec import Struct
from rich.table import Table


class Summary(Struct, kw_only=True):
    """Every row is one of: an event, ignored, unreadable. Every event is one of: applied,
    absorbed, an exception, a duplicate.

    `unreadable_rows` are the numbers of the first few.
    """

    file: str
    feed: str
    rows: int = 0
    events: dict[str, int] = {}
    ignored: int = 0
    unreadable: int = 0
    unreadable_rows: list[int] = []
    published: int = 0
    applied: int = 0
    absorbed: int = 0
    duplicates: int = 0
    exceptions: int = 0
    seconds: float = 0.0
    events_per_second: int = 0


def table(summary: Summary) -> Table:
    """The same, to be read."""
    lines = Table(title=f"{summary.file} → {summary.feed}", show_header=False, title_justify="left")
    lines.add_column()
    lines.add_column(justify="right")

    def line(words: str, number: float, *, style: str | None = None) -> None:
        lines.add_row(words, f"{number:,}", style=style)

    line("rows", summary.rows)
    for kind, count in sorted(summary.events.items()):
        line(f"  {kind}", count)
    line("  ignored", summary.ignored)
    if summary.unreadable:
        first = ", ".join(map(str, summary.unreadable_rows))
        line(f"  unreadable (first: {first})", summary.unreadable, style="red")
    lines.add_section()
    line("events published", summary.published)
    line("  applied", summary.applied)
    line("  absorbed", summary.absorbed)
    line("  duplicates", summary.duplicates)
    line("  exceptions", summary.exceptions, style="red" if summary.exceptions else None)
    lines.add_section()
    line("seconds", summary.seconds)
    line("events/s", summary.events_per_second)
    return lines
