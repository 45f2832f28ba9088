"""The rehearsal in four plots: calls, latency, units left, and the buyers that won."""

import io
import math
from collections import Counter, defaultdict
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atp_service.rehearse.measures import CLASSES, kind_of, order_of_success, percentile
from atp_service.rehearse.run import Rehearsal
from atp_service.rehearse.summary import title

_COLOURS = {
    "browse": "#9db4c0",
    "accepted": "#2a9d5c",
    "refused": "#e0a030",
    "facts": "#7a6fb0",
    "fault": "#c0392b",
    "plan": "#333333",
}
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
}
_GROUPS = 20
_DPI = 110


def draw(rehearsal: Rehearsal) -> tuple[str, bytes]:
    """The plots: as an SVG element for a page, and as a PNG file."""
    seconds = math.ceil(max(rehearsal.measures.seconds, rehearsal.scenario.seconds))
    svg, png = io.StringIO(), io.BytesIO()
    with rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.2), layout="constrained")
        figure.suptitle(title(rehearsal), fontsize=11, x=0.01, ha="left")
        (calls, units), (latency, winners) = figure.subplots(2, 2)
        _calls(calls, rehearsal, seconds)
        _latency(latency, rehearsal, seconds)
        _units_left(units, rehearsal)
        _winners(winners, rehearsal)
        for plot in (calls, latency, units):
            plot.set_xlim(0, seconds)
            plot.set_xlabel("seconds from the start")
            if (window := rehearsal.window) is not None:
                shade = {"color": _COLOURS["fault"], "alpha": 0.12, "label": window.name}
                plot.axvspan(window.begins_at, window.ends_at, **shade)
        for plot in (calls, latency):  # the legend stands below, where it hides nothing
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
            plot.legend(**place, ncols=5, fontsize=7, frameon=False)
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=_DPI)
    # The XML declaration and the doctype have no place within a page.
    text = svg.getvalue()
    return text[text.index("<svg") :], png.getvalue()


def _calls(plot: Axes, rehearsal: Rehearsal, seconds: int) -> None:
    answered: Counter[tuple[str | None, int]] = Counter(
        (kind_of(call), int(call.answered)) for call in rehearsal.history.calls
    )
    plot.stackplot(
        range(seconds),
        *([answered[kind, second] for second in range(seconds)] for kind in CLASSES),
        labels=CLASSES,
        colors=[_COLOURS[kind] for kind in CLASSES],
        step="post",
    )
    scenario = rehearsal.scenario
    steps = [at / 4 for at in range(4 * math.ceil(scenario.seconds) + 1)]
    planned = [scenario.normal_rate * (scenario.multiple_at(at) or 0.0) for at in steps]
    plot.plot(steps, planned, color=_COLOURS["plan"], lw=1, ls="--", label="buyers arriving")
    plot.set_title("calls answered a second")


def _latency(plot: Axes, rehearsal: Rehearsal, seconds: int) -> None:
    for kind in ("accepted", "refused"):
        due: dict[int, list[float]] = defaultdict(list)
        for call in rehearsal.history.calls:
            if kind_of(call) == kind:
                due[int(call.due)].append(call.seconds * 1000)
        for percent, style in ((50, ":"), (99, "-")):
            values = [
                percentile(sorted(due[at]), percent) if at in due else math.nan
                for at in range(seconds)
            ]
            label = f"{kind}, p{percent}"
            plot.plot(range(seconds), values, style, color=_COLOURS[kind], label=label)
    plot.set_yscale("log")
    plot.set_title("latency in ms, by when calls were due")


def _units_left(plot: Axes, rehearsal: Rehearsal) -> None:
    history = rehearsal.history
    for sku in history.names.sale:
        level = rehearsal.ledger.levels.get((sku, history.names.shop))
        left = level.left if level else []
        times = [at_ms / 1000 - history.started_at for at_ms, _ in left]
        plot.step(times, [units for _, units in left], where="post", lw=0.9)
    plot.axhline(0, color=_COLOURS["plan"], lw=0.8)
    plot.set_title("units of each SKU on sale left to sell, by the ledger")


def _winners(plot: Axes, rehearsal: Rehearsal) -> None:
    asked, won = [0] * _GROUPS, [0] * _GROUPS
    for order in order_of_success(rehearsal.history).values():
        for place, (_, success) in enumerate(order):
            group = place * _GROUPS // len(order)
            asked[group] += 1
            won[group] += success
    shares = [100 * winners / max(1, buyers) for winners, buyers in zip(won, asked, strict=True)]
    width = 100 / _GROUPS
    centres = [(group + 0.5) * width for group in range(_GROUPS)]
    plot.bar(centres, shares, width * 0.9, color=_COLOURS["accepted"])
    plot.set_ylim(0, 100)
    plot.set_xlabel("buyers in the order they asked, %")
    plot.set_title("buyers that got a unit on sale, % of those that asked")
