"""The verdict and its figures: as tables for people, as JSON for programs."""

from collections.abc import Iterator

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from atp_service.rehearse.measures import FAULT, Measures
from atp_service.rehearse.run import Rehearsal

_MARKS = {
    True: Text("held", style="green"),
    False: Text("FAILED", style="bold red"),
    None: Text("unknown", style="yellow"),
}


def tables(rehearsal: Rehearsal) -> RenderableType:
    """The verdict, the figures behind it, and the remarks."""
    figures = Table(show_header=False)
    figures.add_column(no_wrap=True)
    figures.add_column(overflow="fold")
    for words, found in _figures(rehearsal):
        figures.add_row(words, found)
    examples = (example for figure in rehearsal.audit.figures for example in figure.examples)
    return Group(
        _verdict(rehearsal),
        *(Text(f"  {example}", style="red") for example in examples),
        Text(),
        _latencies(rehearsal),
        Text(),
        figures,
        *(Text(f"! {remark}", style="yellow") for remark in rehearsal.verdict.remarks),
    )


def as_json(rehearsal: Rehearsal) -> bytes:
    """All figures; the calls themselves are left out."""
    document = {
        "scenario": rehearsal.scenario.name,
        "scale": rehearsal.scale,
        "buyers": rehearsal.scenario.buyers,
        "run": rehearsal.history.names.run,
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
    """One line that names the scenario, its size and the fault."""
    fault = f", {rehearsal.fault}" if rehearsal.fault else ""
    scenario = rehearsal.scenario
    return (
        f"{scenario.name}: {scenario.buyers:,} buyers, {scenario.peak:g} × peak "
        f"(scale {rehearsal.scale:g}{fault})"
    )


def _verdict(rehearsal: Rehearsal) -> Table:
    table = Table(title=title(rehearsal), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for check in rehearsal.verdict.checks:
        table.add_row(check.words, check.found, _MARKS[check.held])
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
        if before and one.phase != before:
            table.add_section()
        name = rehearsal.fault or FAULT if one.phase == FAULT else one.phase
        name, before = "" if one.phase == before else name, one.phase
        percentiles = (f"{figure:,.1f}" for figure in (one.p50, one.p95, one.p99, one.p999))
        table.add_row(name, one.kind, f"{one.count:,}", *percentiles)
    return table


def _figures(rehearsal: Rehearsal) -> Iterator[tuple[str, str]]:
    measures, audit = rehearsal.measures, rehearsal.audit
    rates, fair, effort = measures.rates, measures.fairness, measures.effort
    came = f"{rates.reached:,.1f} of {rates.planned:,.1f} planned"
    answered = f"{rates.answered:,.1f} calls answered a second"
    yield f"arrivals a second at the {rehearsal.scenario.plateau.name}", f"{came}; {answered}"
    yield "sold out after the opening", _sold_out(measures)
    yield "holds refused", f"{measures.refused_share:.1%} of the buyers who tried"
    first = f"{fair.first_share:.1%} of the first got units, as many as there were units"
    order = f"order and success correlate by {fair.correlation:+.2f}"
    meaning = "+1: every winner came before every loser, 0: a lottery"
    yield "first come, first served", f"{first}; {order} ({meaning})"
    yield "refusals", _counted(measures.refusals)
    yield "retried", _counted(measures.errors.attempts)
    yield "ended badly", _counted(measures.errors.calls)
    if rehearsal.fault:
        yield "retried, within the fault", _counted(measures.errors.fault_attempts)
        yield "ended badly, within the fault", _counted(measures.errors.fault_calls)
    late = f"woke {effort.late_seconds * 1000:.1f} ms late"
    queued = f"waited {effort.queued_seconds * 1000:.1f} ms for a connection (p99)"
    yield "the generator", f"{effort.cpu_share:.0%} of a core when busiest; {late}, {queued}"
    entries, reservations = f"{audit.entries:,} entries", f"{audit.promises:,} reservations"
    yield "audited", f"{entries} of the ledger, {reservations}, {audit.answers:,} answers"


def _sold_out(measures: Measures) -> str:
    times = [seconds for seconds in measures.sold_out.values() if seconds is not None]
    left = len(measures.sold_out) - len(times)
    if not times:
        return "none was"
    return f"first SKU {min(times):.1f} s, last {max(times):.1f} s" + f"; {left} never" * (left > 0)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "none"
