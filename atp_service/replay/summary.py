"""The figures of a replay: as tables for people, as JSON for programs."""

from collections.abc import Iterator

from msgspec import Struct
from rich.table import Table

from atp_service.ledger.read.snapshots import Comparison, DifferingLine


class Summary(Struct, kw_only=True):
    """Every row is one of: an event, ignored, unreadable. Every event is one of: applied,
    absorbed, an exception, a duplicate.

    `unreadable_rows` are the numbers of the first few. If snapshots end with the file, `closed` are
    their locations, `left_out` counts the levels that they set to 0, and `unclosed` has the reason
    for each other location.
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
    closed: list[str] = []
    left_out: int = 0
    unclosed: dict[str, str] = {}
    seconds: float = 0.0
    events_per_second: int = 0


class SnapshotSummary(Summary, kw_only=True):
    """The figures of a snapshot's file, its comparison, and the largest differences."""

    comparison: Comparison
    largest: list[DifferingLine]


def tables(summary: Summary) -> Iterator[Table]:
    """The figures as a table; of a snapshot also the largest differences."""
    yield _figures(summary)
    if isinstance(summary, SnapshotSummary) and summary.largest:
        yield _largest_differences(summary)


def _figures(summary: Summary) -> Table:
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
    if summary.closed:
        line("locations closed", len(summary.closed))
        line("  levels left out", summary.left_out)
    for location, reason in summary.unclosed.items():
        lines.add_row(f"{location} not closed", reason, style="red")
    if isinstance(summary, SnapshotSummary):
        lines.add_section()
        for words, number in _compared(summary.comparison):
            line(words, number)
    lines.add_section()
    line("seconds", summary.seconds)
    line("events/s", summary.events_per_second)
    return lines


def _compared(comparison: Comparison) -> Iterator[tuple[str, int]]:
    yield "lines compared", comparison.lines - comparison.outdated
    if comparison.levels != comparison.lines:
        yield "  levels", comparison.levels
    yield "  within tolerance", comparison.within
    yield "  corrected", comparison.corrected
    yield "  for review", comparison.for_review
    yield "  only reported", comparison.reported
    if comparison.outdated:
        yield "lines of before a count", comparison.outdated
    yield "units more than ours", comparison.units_up
    yield "units fewer than ours", comparison.units_down


def _largest_differences(summary: SnapshotSummary) -> Table:
    lines = Table(title="Largest differences", title_justify="left")
    lines.add_column("SKU")
    lines.add_column("location")
    for heading in ("ours", "theirs", "difference"):
        lines.add_column(heading, justify="right")
    lines.add_column("policy")
    for found in summary.largest:
        ours = found.believed - found.difference
        numbers = (f"{ours:,}", f"{found.believed:,}", f"{found.difference:+,}")
        lines.add_row(found.sku, found.location, *numbers, found.policy)
    return lines
