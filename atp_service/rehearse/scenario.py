"""The scenario file: the goods on sale, the buyers, their arrivals and their behaviour.

It is TOML; `examples/flash-sale.toml` explains every key.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field, structs

from atp_service.toml_file import Mistake, read_toml

Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Skus = Annotated[int, Meta(ge=1, le=1_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Multiple = Annotated[float, Meta(ge=0, le=1_000)]
Rate = Annotated[float, Meta(ge=0, le=100_000)]
HoldSeconds = Annotated[int, Meta(ge=1, le=14_400)]

_SUM_TOLERANCE = 1e-6


class ScenarioError(Exception):
    """The scenario cannot be used; the message is one line that begins with file and line."""


class Assortment(Struct, frozen=True, forbid_unknown_fields=True):
    """A number of SKUs, and the units of each."""

    skus: Skus
    units: Count


class Buyer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The behaviour of all buyers. Think times are spread evenly between the two."""

    think_seconds: tuple[float, float]
    hold_seconds: HoldSeconds
    patience_seconds: Seconds
    gives_up_seconds: Seconds
    two_units: Share = 0.0
    second_line: Share = 0.0


class Mix(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shares of buyers by intent; they add up to 1."""

    browse: Share
    walk_away: Share
    confirm: Share
    change: Share
    repeat: Share


class Operations(Struct, frozen=True, forbid_unknown_fields=True):
    """The facts during the sale: tills' sales, deliveries, shipments of orders."""

    facts_per_second: Rate


class Phase(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stretch in which arrivals change evenly between two multiples of the normal rate; `sale` is
    the share of buyers that want a SKU on sale."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9 -]{0,30}$")]
    seconds: Seconds
    begins_at: Multiple = field(name="from")
    ends_at: Multiple = field(name="to")
    sale: Share

    @property
    def weight(self) -> float:
        """Its share of all buyers, in seconds at the normal rate."""
        return self.seconds * (self.begins_at + self.ends_at) / 2


class Targets(Struct, frozen=True, forbid_unknown_fields=True):
    """The verdict's demands beside a clean audit."""

    p99_ms: Annotated[float, Meta(gt=0)] | None = None


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A scenario, checked. The normal rate follows from `buyers` and the phases."""

    name: str
    buyers: Count
    sale: Assortment
    everyday: Assortment
    buyer: Buyer
    mix: Mix
    operations: Operations
    phases: Annotated[list[Phase], Meta(min_length=1, max_length=20)]
    targets: Targets = Targets()

    @property
    def seconds(self) -> float:
        """The sale's length."""
        return math.fsum(phase.seconds for phase in self.phases)

    @property
    def normal_rate(self) -> float:
        """Buyers a second at multiple 1."""
        return self.buyers / math.fsum(phase.weight for phase in self.phases)

    @property
    def peak(self) -> float:
        """The highest multiple."""
        return max(max(phase.begins_at, phase.ends_at) for phase in self.phases)

    @property
    def plateau(self) -> Phase:
        """The phase with the highest mean rate: where faults strike."""
        return max(self.phases, key=lambda phase: phase.weight / phase.seconds)

    def begin_of(self, phase: Phase) -> float:
        """The phase's first moment, in seconds from the start."""
        before = self.phases[: self.phases.index(phase)]
        return math.fsum(one.seconds for one in before)

    @property
    def opens_at(self) -> float:
        """The first arrival of a buyer for the sale, in seconds from the start."""
        return self.begin_of(next(phase for phase in self.phases if phase.sale > 0))

    def arrivals(self) -> Iterator[tuple[float, Phase]]:
        """Each buyer's arrival, in seconds from the start, and its phase.

        Evenly spaced at the rate of the moment: the n-th comes when the rate's integral reaches n.
        """
        rate = self.normal_rate
        number, before, begin = 0, 0.0, 0.0
        for phase in self.phases:
            after = before + rate * phase.weight
            while number + 0.5 < after and number < self.buyers:
                yield begin + _reached((number + 0.5 - before) / rate, phase), phase
                number += 1
            before, begin = after, begin + phase.seconds

    def multiple_at(self, at: float) -> float | None:
        """The multiple of the normal rate; None once the sale is over."""
        for phase in self.phases:
            if at < phase.seconds:
                return phase.begins_at + (phase.ends_at - phase.begins_at) * at / phase.seconds
            at -= phase.seconds
        return None

    def phase_at(self, at: float) -> Phase:
        """The phase at a moment; the last one also after its end."""
        for phase in self.phases:
            if at < phase.seconds:
                return phase
            at -= phase.seconds
        return self.phases[-1]

    def scaled(self, scale: float) -> "Scenario":
        """Buyers, units and rates shrunk (or grown) alike; times stay as they are."""
        return structs.replace(
            self,
            buyers=_scaled(self.buyers, scale),
            sale=structs.replace(self.sale, units=_scaled(self.sale.units, scale)),
            everyday=structs.replace(self.everyday, units=_scaled(self.everyday.units, scale)),
            operations=Operations(self.operations.facts_per_second * scale),
        )


def load_scenario(path: Path) -> Scenario:
    """The scenario that a file describes. Raises ScenarioError."""
    return read_toml(path, Scenario, _mistakes, ScenarioError)


def _reached(weight: float, phase: Phase) -> float:
    """Seconds into a phase when its integral reaches `weight`: a root of
    slope/2·t² + begins_at·t = weight, written so that a slope of 0 does no harm."""
    slope = (phase.ends_at - phase.begins_at) / phase.seconds
    inner = max(0.0, phase.begins_at**2 + 2 * slope * weight)
    return 2 * weight / (phase.begins_at + math.sqrt(inner))


def _scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))


def _mistakes(scenario: Scenario) -> Iterator[Mistake]:
    """Mistakes that the types do not rule out."""
    total = math.fsum(structs.astuple(scenario.mix))
    if abs(total - 1) > _SUM_TOLERANCE:
        yield ("mix",), f"the shares add up to {total:g}, not 1"
    shortest, longest = scenario.buyer.think_seconds
    if not 0 <= shortest <= longest:
        yield ("buyer", "think_seconds"), "the shorter time comes first, and both are 0 or more"
    names = [phase.name for phase in scenario.phases]
    for place, phase in enumerate(scenario.phases):
        if phase.name in names[:place]:
            yield ("phases", place, "name"), f"another phase is called {phase.name!r}"
    if not any(phase.weight > 0 for phase in scenario.phases):
        yield ("phases", 0, "from"), "no buyer comes: every phase is at 0"
    if not any(phase.sale > 0 for phase in scenario.phases):
        yield ("phases", 0, "sale"), "no buyer comes for the sale in any phase"
