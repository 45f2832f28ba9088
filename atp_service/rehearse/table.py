"""The verdict as a table, for people; and all figures as JSON, for programs."""

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from atp_service.rehearse.measures import FAULT, Measures
from atp_service.rehearse.run import Rehearsal

_MARKS = {True: Text("held", style="green"), False: Text("FAILED", style="bold red")}


def shown(rehearsal: Rehearsal) -> RenderableType:
    """The verdict, the figures behind it, and what must be known beside it."""
    return Group(
        _verdict(rehearsal),
        *(
            Text(f"  {example}", style="red")
            for figure in rehearsal.audit.figures
            for example in figure.examples
        ),
        Text(),
        _latencies(rehearsal),
        Text(),
        _sale(rehearsal),
        *(Text(f"! {remark}", style="yellow") for remark in rehearsal.verdict.remarks),
    )


def as_json(rehearsal: Rehearsal) -> bytes:
    """Everything but the calls themselves."""
    document: dict[str, Any] = {
        "scenario": rehearsal.scenario.name,
        "scale": rehearsal.scale,
        "buyers": rehearsal.scenario.buyers,
        "run": rehearsal.history.goods.run,
        "started_at": rehearsal.history.started_at,
        "url": rehearsal.url,
        "fault": rehearsal.fault,
        "window": rehearsal.window,
        "held": rehearsal.verdict.held,
        "checks": rehearsal.verdict.checks,
        "remarks": rehearsal.verdict.remarks,
        "audit": rehearsal.audit,
        "measures": rehearsal.measures,
    }
    return msgspec.json.format(msgspec.json.encode(document))


def title(rehearsal: Rehearsal) -> str:
    fault = f", {rehearsal.fault}" if rehearsal.fault else ""
    scenario = rehearsal.scenario
    return (
        f"{scenario.name}: {scenario.buyers:,} buyers, {scenario.peak:g} × peak "
        f"(scale {rehearsal.scale:g}{fault})"
    )


def told(rehearsal: Rehearsal) -> list[tuple[str, str]]:
    """What a reader asks next, in order: rate, sold out, refused, fairness, errors, effort."""
    measures, audit = rehearsal.measures, rehearsal.audit
    rows = [
        (f"arrivals a second at the {rehearsal.scenario.plateau.name}", _rates(measures)),
        ("sold out after the opening", _sold_out(measures)),
        ("holds refused", f"{measures.refused_share:.1%} of those who tried"),
        ("first come, first served", _fairness(measures)),
        ("refusals", _counted(measures.refusals)),
        ("tried again", _counted(measures.errors.attempts)),
        ("ended badly", _counted(measures.errors.calls)),
    ]
    if rehearsal.fault:
        rows += [
            ("tried again, within the fault", _counted(measures.errors.fault_attempts)),
            ("ended badly, within the fault", _counted(measures.errors.fault_calls)),
        ]
    looked_at = (
        f"{audit.entries:,} entries of the ledger, {audit.promises:,} reservations, "
        f"{audit.answers:,} answers"
    )
    return [*rows, ("the generator", _effort(measures)), ("looked at", looked_at)]


def _verdict(rehearsal: Rehearsal) -> Table:
    table = Table(title=title(rehearsal), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for check in rehearsal.verdict.checks:
        mark = Text("can't be said", style="yellow") if check.held is None else _MARKS[check.held]
        table.add_row(check.words, check.found, mark)
    table.add_section()
    table.add_row(Text("verdict", style="bold"), "", _MARKS[rehearsal.verdict.held])
    return table


def _latencies(rehearsal: Rehearsal) -> Table:
    table = Table(
        title="milliseconds, from when a call was due to its answer", title_justify="left"
    )
    for name in ("phase", "calls", "count", "p50", "p95", "p99", "p99.9"):
        table.add_column(name, justify="left" if name in ("phase", "calls") else "right")
    before = ""
    for one in rehearsal.measures.latencies:
        if one.phase != before and before:
            table.add_section()
        phase = rehearsal.fault if one.phase == FAULT and rehearsal.fault else one.phase
        name = "" if one.phase == before else phase
        before = one.phase
        figures = (f"{figure:,.1f}" for figure in (one.p50, one.p95, one.p99, one.p999))
        table.add_row(name, one.kind, f"{one.count:,}", *figures)
    return table


def _sale(rehearsal: Rehearsal) -> Table:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for words, found in told(rehearsal):
        table.add_row(words, found)
    return table


def _rates(measures: Measures) -> str:
    rates = measures.rates
    return (
        f"{rates.reached:,.1f} of {rates.planned:,.1f} planned; {rates.answered:,.1f} calls "
        "answered a second"
    )


def _fairness(measures: Measures) -> str:
    fair = measures.fairness
    return (
        f"{fair.first_share:.1%} of the first got theirs, as many as there were units; order and "
        f"success correlate by {fair.correlation:+.2f} (+1: every winner came before every loser, "
        "0: a lottery)"
    )


def _effort(measures: Measures) -> str:
    effort = measures.effort
    return (
        f"{effort.cpu_share:.0%} of a core when busiest; woke {effort.late_seconds * 1000:.1f} ms "
        f"late, waited {effort.queued_seconds * 1000:.1f} ms for a connection (p99)"
    )


def _sold_out(measures: Measures) -> str:
    times = [seconds for seconds in measures.sold_out.values() if seconds is not None]
    left = len(measures.sold_out) - len(times)
    if not times:
        return "none was"
    said = f"first SKU {min(times):.1f} s, last {max(times):.1f} s"
    return f"{said}; {left} never" if left else said


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "none"
