"""The verdict: each demand on the service, with the figure found."""

from msgspec import Struct

from atp_service.rehearse.audit import Audit
from atp_service.rehearse.faults import Recovery
from atp_service.rehearse.http_client import MOST_CONNECTIONS
from atp_service.rehearse.measures import LATE_SECONDS, Measures
from atp_service.rehearse.scenario import Scenario

_ENOUGH = 0.95  # of the planned rate; below it the rehearsal was smaller than planned


class Check(Struct, frozen=True):
    """One demand; `held` is None if that is unknown."""

    words: str
    found: str
    held: bool | None


class Verdict(Struct, frozen=True, kw_only=True):
    """Held if no demand failed. A reader must know the `remarks` too."""

    checks: list[Check]
    remarks: list[str]

    @property
    def held(self) -> bool:
        return not any(check.held is False for check in self.checks)


def judge(
    scenario: Scenario, audit: Audit, measures: Measures, recovery: Recovery | None
) -> Verdict:
    """The demands: a clean audit, no bad end outside a fault, a recovery, the target for p99."""
    counts = [(figure.words, figure.count) for figure in audit.figures]
    bad = sum(measures.errors.calls.values())
    counts.append(("calls that ended badly, outside a fault", bad))
    checks = [Check(words, f"{count:,}", count == 0) for words, count in counts]
    if recovery is not None:
        back, seconds = f"back after {recovery.fault}", recovery.seconds
        took = "not in time" if seconds is None else f"{seconds:.1f} s"
        checks.append(Check(back, took, seconds is not None))
    if scenario.targets.p99_ms is not None:
        checks.append(_latency_check(scenario, measures, scenario.targets.p99_ms))
    return Verdict(checks=checks, remarks=_remarks(measures))


def _latency_check(scenario: Scenario, measures: Measures, target_ms: float) -> Check:
    plateau = scenario.plateau.name
    words = f"p99 of accepted promises at the {plateau} ≤ {target_ms:g} ms"
    found = [one for one in measures.latencies if one.phase == plateau and one.kind == "accepted"]
    if not found:
        return Check(words, "none accepted", None)
    if measures.effort.is_busy or measures.effort.is_late:
        return Check(words, f"{found[0].p99:g} ms, the generator's own share in it", None)
    return Check(words, f"{found[0].p99:g} ms", found[0].p99 <= target_ms)


def _remarks(measures: Measures) -> list[str]:
    remarks = []
    effort, rates = measures.effort, measures.rates
    found = (
        f"it used {effort.cpu_share:.0%} of a core in its busiest seconds and woke up to "
        f"{effort.late_seconds * 1000:.0f} ms late (p99)"
    )
    if effort.is_busy:
        remarks.append(
            f"The generator was the bottleneck: {found}. Latencies include its own delay: rehearse "
            "at a smaller --scale."
        )
    elif effort.is_late:
        remarks.append(
            f"The generator was kept from the processor: {found}. Latencies include that delay: "
            "this machine is too busy for the load and the service together, at this --scale."
        )
    if effort.queued_seconds > LATE_SECONDS:
        remarks.append(
            f"The service fell behind: requests waited up to {effort.queued_seconds:.1f} s (p99) "
            f"for one of {MOST_CONNECTIONS} connections, which counts as latency."
        )
    if rates.reached < _ENOUGH * rates.planned:
        remarks.append(
            f"Only {rates.reached:.0f} of the planned {rates.planned:.0f} arrivals a second came."
        )
    return remarks
