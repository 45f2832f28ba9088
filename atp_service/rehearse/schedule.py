"""The buyers' arrivals: computed beforehand, so that the service cannot move them."""

import math
from collections.abc import Iterator

from atp_service.rehearse.scenario import Phase, Scenario


def arrivals(scenario: Scenario) -> Iterator[tuple[float, Phase]]:
    """Each buyer's arrival, in seconds from the start, and its phase.

    Evenly spaced at the rate of the moment: the n-th comes when the rate's integral reaches n.
    """
    rate = scenario.normal_rate
    number, before, begin = 0, 0.0, 0.0
    for phase in scenario.phases:
        after = before + rate * phase.weight
        while number + 0.5 < after and number < scenario.buyers:
            yield begin + _reached((number + 0.5 - before) / rate, phase), phase
            number += 1
        before, begin = after, begin + phase.seconds


def multiple_at(scenario: Scenario, at: float) -> float | None:
    """The multiple of the normal rate; None once the sale is over."""
    for phase in scenario.phases:
        if at < phase.seconds:
            return phase.begins_at + (phase.ends_at - phase.begins_at) * at / phase.seconds
        at -= phase.seconds
    return None


def phase_at(scenario: Scenario, at: float) -> Phase:
    """The phase at a moment; the last one also after its end."""
    for phase in scenario.phases:
        if at < phase.seconds:
            return phase
        at -= phase.seconds
    return scenario.phases[-1]


def _reached(weight: float, phase: Phase) -> float:
    """Seconds into a phase when its integral reaches `weight`: a root of
    slope/2·t² + begins_at·t = weight, written so that a slope of 0 does no harm."""
    slope = (phase.ends_at - phase.begins_at) / phase.seconds
    inner = max(0.0, phase.begins_at**2 + 2 * slope * weight)
    return 2 * weight / (phase.begins_at + math.sqrt(inner))
