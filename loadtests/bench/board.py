"""The scoreboard: what was measured, what it had to reach, and whether it did."""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct
from rich.table import Table


class Check(Struct, frozen=True, kw_only=True):
    """One figure with its target. `figures` has one per round (or pair of rounds)."""

    what: str
    figures: list[float]
    target: float
    at_most: bool
    unit: str = ""

    @property
    def figure(self) -> float:
        return median(self.figures)

    @property
    def held(self) -> bool:
        return self.figure <= self.target if self.at_most else self.figure >= self.target


class Series(Struct, frozen=True, kw_only=True):
    """A cost as the work grows: (size, cost) by size."""

    what: str
    unit: str
    points: list[tuple[int, float]]


class Result(Struct, frozen=True, kw_only=True):
    """A row of the board. `notes` are figures that stand beside it, for information."""

    checks: list[Check] = []
    notes: list[str] = []
    series: list[Series] = []
    skipped: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """A result, and under what load of the machine (1-minute averages) it came about."""

    name: str
    result: Result
    seconds: float
    load_before: float
    load_after: float


class Board(Struct, frozen=True, kw_only=True):
    """All that a run has measured. Figures of a quick run are too few to count."""

    quick: bool
    cores: int
    allocator: str
    started_at: str
    rows: list[Row]


def plain(board: Board) -> dict[str, object]:
    """The board for programs: with each check's median and verdict."""
    return {
        "quick": board.quick,
        "cores": board.cores,
        "allocator": board.allocator,
        "started_at": board.started_at,
        "rows": [
            {
                "name": row.name,
                "seconds": row.seconds,
                "load_before": row.load_before,
                "load_after": row.load_after,
                "skipped": row.result.skipped,
                "notes": row.result.notes,
                "series": row.result.series,
                "checks": [
                    {
                        "what": check.what,
                        "unit": check.unit,
                        "figure": check.figure,
                        "figures": check.figures,
                        "target": check.target,
                        "at_most": check.at_most,
                        "held": check.held,
                    }
                    for check in row.result.checks
                ],
            }
            for row in board.rows
        ],
    }


def table(board: Board) -> Table:
    """The board for people."""
    machine = f"{board.cores} cores, Valkey on {board.allocator}"
    kind = "quick: too few rounds to count, " if board.quick else ""
    lines = Table(title=f"make bench ({kind}{machine}, {board.started_at})", title_justify="left")
    lines.add_column("row", no_wrap=True)
    lines.add_column("what")
    lines.add_column("measured", justify="right", no_wrap=True)
    lines.add_column("spread", justify="right", no_wrap=True)
    lines.add_column("target", justify="right", no_wrap=True)
    lines.add_column("")
    for row in board.rows:
        name = row.name
        if row.result.skipped:
            lines.add_row(name, row.result.skipped, "", "", "", "skipped")
        for check in row.result.checks:
            lines.add_row(
                name,
                check.what,
                number(check.figure, check.unit),
                spread(check.figures),
                f"{'≤' if check.at_most else '≥'} {number(check.target, check.unit)}",
                "[green]held[/]" if check.held else "[red]missed[/]",
            )
            name = ""
        for note in [*row.result.notes, *map(_in_words, row.result.series)]:
            lines.add_row(name, f"[dim]{note}[/]")
            name = ""
        load = f"load {row.load_before:.1f} → {row.load_after:.1f}"
        lines.add_row("", f"[dim]{row.seconds:.0f} s, {load}[/]", end_section=True)
    return lines


def _in_words(series: Series) -> str:
    steps = ", ".join(f"{number(cost)} at {size:,}" for size, cost in series.points)
    return f"{series.unit} by {series.what}: {steps}"


def number(value: float, unit: str = "") -> str:
    """To three digits or so: more would not be the same in the next run."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def spread(figures: Sequence[float]) -> str:
    """From the lowest to the highest; nothing where there is only one."""
    if len(figures) < 2:
        return ""
    return f"{number(min(figures))} – {number(max(figures))}"


def around(figures: Sequence[float], unit: str = "") -> str:
    """The median with its spread, in a line."""
    inside = f" ({spread(figures)})" if len(figures) > 1 else ""
    return f"{number(median(figures), unit)}{inside}"


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Pair by pair: what disturbed one half of a pair most likely disturbed the other too."""
    return [a / b for a, b in zip(of, to, strict=True)]
