"""Two commits compared: a row runs on this tree and on another commit in turn, each by its code.

Every figure that both boards have is compared: the checks by their place in the row, and the
figures with a unit in notes of the same words.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import rich_click as click
from msgspec import Struct
from rich.table import Table

from loadtests.bench.board import number, ratios, spread
from loadtests.bench.machine import ROOT

_LAST_LINES = 15
# A figure as `board.number` writes it, and its unit.
_FIGURE = re.compile(r"(?P<value>\d[\d,]*(?:\.\d+)?) (?P<unit>µs|ms|s|B|/s)(?![\w/])")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SPREAD = re.compile(r" \([\d,.]+ – [\d,.]+\)")


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of a row, in one run. A lower cost is better, and a higher rate."""

    what: str
    value: float
    unit: str
    is_cost: bool


class Compared(Struct, frozen=True, kw_only=True):
    """A figure on both commits, one value a run each; the runs are in pairs."""

    row: str
    what: str
    unit: str
    is_cost: bool
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return ratios(self.ours, self.theirs)


class Side(Struct, frozen=True):
    """A commit's folder, with its environment in `.venv`."""

    name: str
    folder: Path

    def run(self, row: str, *, quick: bool) -> dict[str, Figure]:
        """The figures of one run of a row, by a name that both commits give them.

        Raises ClickException with the last lines of a run that failed.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "board.json"
            python = str(self.folder / ".venv/bin/python")
            command = [python, "-m", "loadtests.bench", row, "--json", str(file)]
            run = subprocess.run(
                [*command, "--quick"] if quick else command,
                cwd=self.folder,
                # On the same disk: the cost of a sync is part of most figures.
                env=os.environ | {"ATP_DATA": os.environ.get("ATP_DATA") or str(ROOT / ".atp")},
                capture_output=True,
                text=True,
                check=False,
            )
            if run.returncode:
                last = "\n".join(run.stderr.splitlines()[-_LAST_LINES:])
                raise click.ClickException(f"{row} failed on {self.name}:\n{last}")
            (board,) = msgspec.json.decode(file.read_bytes())["rows"]
        if board["skipped"]:
            raise click.ClickException(f"{row} was skipped on {self.name}: {board['skipped']}")
        return figures_of(board)


def figures_of(board: dict[str, Any]) -> dict[str, Figure]:
    """The figures of a row of a board in JSON: its checks, then those with a unit in its notes."""
    figures = {
        f"check {place}": Figure(
            what=check["what"], value=check["figure"], unit=check["unit"], is_cost=check["at_most"]
        )
        for place, check in enumerate(board["checks"])
    }
    for place, note in enumerate(board["notes"]):
        text, begins = _SPREAD.sub("", note), 0
        words = _NUMBER.sub("#", text)
        for index, found in enumerate(_FIGURE.finditer(text)):
            figures[f"note {place}, {words}, {index}"] = Figure(
                what=("… " if index else "") + text[begins : found.start()].strip(" ,;:("),
                value=float(found["value"].replace(",", "")),
                unit=found["unit"],
                is_cost=found["unit"] != "/s",
            )
            begins = found.end()
    return figures


def compare(row: str, ours: Side, theirs: Side, *, pairs: int, quick: bool) -> list[Compared]:
    """A row on both sides in turn: a b, b a, a b, …. A figure that one side lacks is left out."""
    runs: dict[str, list[dict[str, Figure]]] = {ours.name: [], theirs.name: []}
    for pair in range(pairs):
        for side in (ours, theirs) if pair % 2 == 0 else (theirs, ours):
            runs[side.name].append(side.run(row, quick=quick))
    first = runs[ours.name][0]
    return [
        Compared(
            row=row,
            what=figure.what,
            unit=figure.unit,
            is_cost=figure.is_cost,
            ours=[run[key].value for run in runs[ours.name]],
            theirs=[run[key].value for run in runs[theirs.name]],
        )
        for key, figure in first.items()
        if all(key in run and run[key].value for side in runs.values() for run in side)
    ]


@contextmanager
def checkout(commit: str) -> Iterator[Side]:
    """A commit's files and environment, in a folder that is gone afterwards.

    Raises ClickException if there is no such commit.
    """
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run(
        [*git, "rev-parse", "--verify", "--short", f"{commit}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if named.returncode:
        raise click.ClickException(f"there is no commit {commit}")
    with tempfile.TemporaryDirectory(prefix="atp-bench-", ignore_cleanup_errors=True) as folder:
        files = subprocess.run([*git, "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=files.stdout, check=True)
        uv = shutil.which("uv") or ROOT / ".boot/bin/uv"
        make = ["make", "--silent", "-C", folder, "env", f"UV={uv}", f"PYTHON={sys.executable}"]
        subprocess.run(make, stdout=subprocess.DEVNULL, check=True)
        yield Side(named.stdout.strip(), Path(folder))


def comparison_table(compared: Sequence[Compared], other: str) -> Table:
    """The ratios for people. The median counts; the spread is over the pairs of runs."""
    lines = Table(title=f"make bench: this tree against {other}", title_justify="left")
    for title in ("row", "what"):
        lines.add_column(title)
    for title in ("this tree", other, "ratio", "spread"):
        lines.add_column(title, justify="right", no_wrap=True)
    lines.add_column("better", no_wrap=True)
    before = ""
    for figure in compared:
        lines.add_row(
            "" if figure.row == before else figure.row,
            figure.what,
            number(median(figure.ours), figure.unit),
            number(median(figure.theirs), figure.unit),
            f"{median(figure.ratios):.3f}",
            spread(figure.ratios),
            "if lower" if figure.is_cost else "if higher",
        )
        before = figure.row
    return lines
