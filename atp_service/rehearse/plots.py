"""The rehearsal in four plots: calls, latency, units left, and who won."""

import io
import math
from collections import defaultdict
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atp_service.rehearse.measures import CLASSES, by_second, kind_of, order_of_success, percentile
from atp_service.rehearse.run import Rehearsal
from atp_service.rehearse.schedule import multiple_at
from atp_service.rehearse.table import title

_COLOURS = {
    "browse": "#9db4c0",
    "accepted": "#2a9d5c",
    "refused": "#e0a030",
    "facts": "#7a6fb0",
    "fault": "#c0392b",
    "plan": "#333333",
}
_GROUPS = 20
_DPI = 110


def drawn(rehearsal: Rehearsal) -> tuple[str, bytes]:
    """The plots as SVG, to stand within a page, and as PNG."""
    with rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "svg.fonttype": "none",
        }
    ):
        figure = Figure(figsize=(11, 7.2), layout="constrained")
        axes = figure.subplots(2, 2)
        figure.suptitle(title(rehearsal), fontsize=11, x=0.01, ha="left")
        seconds = math.ceil(max(rehearsal.measures.seconds, rehearsal.scenario.seconds))
        _calls(axes[0][0], rehearsal, seconds)
        _latency(axes[1][0], rehearsal, seconds)
        _units_left(axes[0][1], rehearsal)
        _winners(axes[1][1], rehearsal)
        for plot in (axes[0][0], axes[1][0], axes[0][1]):
            plot.set_xlim(0, seconds)
            plot.set_xlabel("seconds from the start")
            _shade(plot, rehearsal)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=_DPI)
    # Within a page the XML declaration and the doctype have no place.
    text = svg.getvalue()
    return text[text.index("<svg") :], png.getvalue()


def _calls(plot: Axes, rehearsal: Rehearsal, seconds: int) -> None:
    answered = defaultdict(list)
    for call in rehearsal.history.calls:
        if (kind := kind_of(call)) is not None:
            answered[kind].append(call.answered)
    plot.stackplot(
        range(seconds),
        *(by_second(answered[kind], seconds) for kind in CLASSES),
        labels=CLASSES,
        colors=[_COLOURS[kind] for kind in CLASSES],
        step="post",
    )
    scenario = rehearsal.scenario
    steps = [at / 4 for at in range(4 * math.ceil(scenario.seconds) + 1)]
    planned = [scenario.normal_rate * (multiple_at(scenario, at) or 0.0) for at in steps]
    plot.plot(steps, planned, color=_COLOURS["plan"], lw=1, ls="--", label="buyers arriving")
    plot.set_title("calls answered a second")
    _legend(plot)


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
            plot.plot(
                range(seconds), values, style, color=_COLOURS[kind], label=f"{kind}, p{percent}"
            )
    plot.set_yscale("log")
    plot.set_title("latency in ms, by when calls were due")
    _legend(plot)


def _units_left(plot: Axes, rehearsal: Rehearsal) -> None:
    history = rehearsal.history
    for sku in history.goods.sale:
        account = rehearsal.books.accounts.get((sku, history.goods.shop))
        left = account.left if account else []
        times = [at_ms / 1000 - history.started_at for at_ms, _ in left]
        plot.step(times, [units for _, units in left], where="post", lw=0.9)
    plot.axhline(0, color=_COLOURS["plan"], lw=0.8)
    plot.set_title("units of each SKU on sale left to sell, by the ledger")


def _winners(plot: Axes, rehearsal: Rehearsal) -> None:
    groups: list[list[bool]] = [[] for _ in range(_GROUPS)]
    for order in order_of_success(rehearsal.history).values():
        for place, (_, won) in enumerate(order):
            groups[place * _GROUPS // len(order)].append(won)
    shares = [_share(group) for group in groups]
    width = 100 / _GROUPS
    places = [(place + 0.5) * width for place in range(_GROUPS)]
    plot.bar(places, shares, width * 0.9, color=_COLOURS["accepted"])
    plot.set_ylim(0, 100)
    plot.set_xlabel("buyers in the order they asked, %")
    plot.set_title("who got a unit on sale, % of those who asked")


def _legend(plot: Axes) -> None:
    """Below, where it hides nothing."""
    plot.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=5, fontsize=7, frameon=False)


def _share(won: Sequence[bool]) -> float:
    return 100 * sum(won) / len(won) if won else 0.0


def _shade(plot: Axes, rehearsal: Rehearsal) -> None:
    window = rehearsal.window
    if window is not None:
        plot.axvspan(window.begins_at, window.ends_at, color=_COLOURS["fault"], alpha=0.12)
        plot.text(
            window.ends_at,
            0.97,
            f" {window.name}",
            transform=plot.get_xaxis_transform(),
            va="top",
            fontsize=7,
            color=_COLOURS["fault"],
        )
