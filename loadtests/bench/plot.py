"""The board's series as a picture: what a hold costs as the work grows."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.bench.board import Board, Series


def plot(board: Board, file: Path) -> None:
    """One panel a series, cost against size; PNG, SVG or what the file's name says."""
    series = [one for row in board.rows for one in row.result.series]
    if not series:
        return
    figure = Figure(figsize=(4 * len(series), 3), layout="constrained")
    panels = figure.subplots(1, len(series), squeeze=False)
    for panel, one in zip(panels[0], series, strict=True):
        _draw(panel, one)
    figure.savefig(file, dpi=120)


def _draw(panel: Axes, one: Series) -> None:
    sizes, costs = zip(*one.points, strict=True)
    panel.plot(sizes, costs, marker="o")
    panel.set_xscale("log")
    panel.set_ylim(0, max(costs) * 1.3)
    panel.set_xlabel(one.what)
    panel.set_ylabel(one.unit)
    panel.grid(visible=True, alpha=0.3)
