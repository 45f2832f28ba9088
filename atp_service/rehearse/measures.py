"""The figures of a run: latency, rates, fairness, errors, and the generator's own effort."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from atp_service.rehearse.faults import FaultWindow
from atp_service.rehearse.history import FACTS, Call, History
from atp_service.rehearse.scenario import Scenario

Class = Literal["browse", "accepted", "refused", "facts"]
CLASSES: tuple[Class, ...] = ("browse", "accepted", "refused", "facts")
FAULT = "fault"  # the phase of calls during a fault

# A generator that uses more of a core than this, or wakes later, measures itself.
_BUSY_SHARE = 0.85
LATE_SECONDS = 0.05

# The fair reasons to refuse a click on a hold; any other is an error.
_FAIR_REFUSALS = frozenset({"insufficient-stock", "reservation-lost", "reservation-not-held"})
_FAIR_FACTS = frozenset({"applied", "duplicate", "published"})


class Latency(Struct, frozen=True, kw_only=True):
    """Milliseconds from when calls were due to their answers."""

    phase: str
    kind: Class
    count: int
    p50: float
    p95: float
    p99: float
    p999: float


class Rates(Struct, frozen=True, kw_only=True):
    """Arrivals a second at the plateau, planned and reached; and calls answered a second there."""

    planned: float
    reached: float
    answered: float


class Fairness(Struct, frozen=True, kw_only=True):
    """The success of the buyers that tried to hold a SKU on sale.

    `first_share`: of the first buyers, as many as there were units, the share that got units.
    `correlation`: 1 if every winner asked before every loser, 0 for a lottery, -1 the reverse.
    """

    asked: int
    won: int
    first_share: float
    correlation: float


class Errors(Struct, frozen=True, kw_only=True):
    """Attempts that were retried and calls that ended badly, counted by kind.

    `fault_…` are those within a fault's window; they do not count against the service.
    """

    attempts: dict[str, int]
    fault_attempts: dict[str, int]
    calls: dict[str, int]
    fault_calls: dict[str, int]


class Effort(Struct, frozen=True, kw_only=True):
    """The generator's own effort: its share of a core in its busiest seconds, how late it woke
    (p99), and how long requests waited for a connection (p99)."""

    cpu_share: float
    late_seconds: float
    queued_seconds: float

    @property
    def is_busy(self) -> bool:
        """It needed more than a core."""
        return self.cpu_share > _BUSY_SHARE

    @property
    def is_late(self) -> bool:
        """It got less than it needed: other processes had the processors."""
        return self.late_seconds > LATE_SECONDS


class Measures(Struct, frozen=True, kw_only=True):
    """All figures of a run.

    `sold_out` has by SKU the seconds from the sale's opening to the first buyer of one unit that
    was refused; None if none was. `refused_share` is of the buyers that tried to hold.
    """

    latencies: list[Latency]
    rates: Rates
    sold_out: dict[str, float | None]
    refused_share: float
    refusals: dict[str, int]
    fairness: Fairness
    errors: Errors
    effort: Effort
    seconds: float
    calls: int


def measure(scenario: Scenario, history: History, window: FaultWindow | None) -> Measures:
    """The figures of a run, with the calls during a fault apart."""
    calls = history.calls
    return Measures(
        latencies=list(_latencies(scenario, calls, window)),
        rates=_rates(scenario, calls),
        sold_out=_sold_out(scenario, history),
        refused_share=_refused_share(calls),
        refusals=dict(Counter(call.outcome for call in calls if call.refused).most_common()),
        fairness=_fairness(history),
        errors=_errors(scenario, calls, window),
        effort=_effort(history),
        seconds=max((call.answered for call in calls), default=0.0),
        calls=len(calls),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value at the nearest rank; 0 for no values."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def kind_of(call: Call) -> Class | None:
    """The class of a call's latency; None for a call without an answer that counts."""
    if call.kind in FACTS:
        return "facts" if call.accepted else None
    if call.refused:
        return "refused"
    if not call.accepted:
        return None
    return "browse" if call.kind == "browse" else "accepted"


def phase_of(call: Call, window: FaultWindow | None) -> str:
    """Its phase; `FAULT` for a call that waited for its answer during the fault."""
    if window is not None and window.overlaps(call.due, call.answered):
        return FAULT
    return call.phase


def _latencies(
    scenario: Scenario, calls: Iterable[Call], window: FaultWindow | None
) -> Iterable[Latency]:
    seconds: dict[tuple[str, Class], list[float]] = defaultdict(list)
    for call in calls:
        if (kind := kind_of(call)) is not None:
            seconds[phase_of(call, window), kind].append(call.seconds)
    percents = {"p50": 50, "p95": 95, "p99": 99, "p999": 99.9}
    for phase in [*(phase.name for phase in scenario.phases), FAULT]:
        for kind in CLASSES:
            if ours := sorted(seconds.get((phase, kind), [])):
                found = {p: round(percentile(ours, of) * 1000, 2) for p, of in percents.items()}
                yield Latency(phase=phase, kind=kind, count=len(ours), **found)


def _rates(scenario: Scenario, calls: Iterable[Call]) -> Rates:
    plateau = scenario.plateau
    begin = scenario.begin_of(plateau)
    end = begin + plateau.seconds
    came = answered = 0
    for call in calls:
        came += call.kind == "browse" and begin <= call.woken < end
        answered += call.status > 0 and begin <= call.answered < end
    planned = scenario.normal_rate * plateau.weight / plateau.seconds
    return Rates(
        planned=planned, reached=came / plateau.seconds, answered=answered / plateau.seconds
    )


def _sold_out(scenario: Scenario, history: History) -> dict[str, float | None]:
    first: dict[str, float | None] = dict.fromkeys(history.names.sale)
    for call in history.calls:
        if call.kind == "hold" and call.outcome == "insufficient-stock" and len(call.cart) == 1:
            (line,) = call.cart
            if line.quantity == 1 and line.sku in first:
                at = call.answered - scenario.opens_at
                before = first[line.sku]
                first[line.sku] = at if before is None else min(before, at)
    return first


def _refused_share(calls: Iterable[Call]) -> float:
    won: dict[str, bool] = {}
    for call in calls:
        if call.kind == "hold" and call.status:
            won[call.reference] = won.get(call.reference, False) or call.accepted
    return 1 - sum(won.values()) / len(won) if won else 0.0


def order_of_success(history: History) -> dict[str, list[tuple[int, bool]]]:
    """By SKU on sale the units and the success of each buyer that tried to hold it, in the order
    that they were due."""
    asked: dict[str, dict[str, tuple[float, int, bool]]] = defaultdict(dict)
    for call in history.calls:
        if call.kind == "hold" and call.status and call.cart[0].sku in history.names.sale:
            line = call.cart[0]
            buyers = asked[line.sku]
            due, quantity, won = buyers.get(call.reference, (call.due, line.quantity, False))
            buyers[call.reference] = (due, quantity, won or call.accepted)
    return {
        sku: [(quantity, won) for _, quantity, won in sorted(buyers.values())]
        for sku, buyers in asked.items()
    }


def _fairness(history: History) -> Fairness:
    """By SKU, then together, each weighed by the number of its buyers."""
    first = first_won = all_asked = all_won = 0
    weighed = 0.0
    for sku, order in order_of_success(history).items():
        left = history.received.get(sku, 0)
        for quantity, won in order:
            left -= quantity
            if left < 0:
                break
            first += 1
            first_won += won
        successes = [won for _, won in order]
        all_asked += len(order)
        all_won += sum(successes)
        weighed += len(order) * rank_correlation(successes)
    return Fairness(
        asked=all_asked,
        won=all_won,
        first_share=first_won / first if first else 0.0,
        correlation=weighed / all_asked if all_asked else 0.0,
    )


def rank_correlation(won: Sequence[bool]) -> float:
    """The rank-biserial correlation of order and success: of all pairs of a winner and a loser, the
    share in which the winner asked first less the share in which the loser did."""
    winners = sum(won)
    losers = len(won) - winners
    if not winners or not losers:
        return 0.0
    first = winners_before = 0
    for one in won:
        if one:
            winners_before += 1
        else:
            first += winners_before
    return 2 * first / (winners * losers) - 1


def _errors(scenario: Scenario, calls: Iterable[Call], window: FaultWindow | None) -> Errors:
    patience = scenario.buyer.patience_seconds
    attempts: Counter[tuple[bool, str]] = Counter()
    ended: Counter[tuple[bool, str]] = Counter()

    def in_fault(begin: float, end: float) -> bool:
        return window is not None and window.overlaps(begin, end)

    def counts(counted: Counter[tuple[bool, str]], within: bool) -> dict[str, int]:
        return {kind: count for (fault, kind), count in counted.most_common() if fault == within}

    for call in calls:
        for kind, at in zip(call.faults, call.fault_times, strict=True):
            attempts[in_fault(at - patience, at), kind] += 1
        if (ending := _bad_ending(call)) is not None:
            ended[in_fault(call.due, call.answered), ending] += 1
    return Errors(
        attempts=counts(attempts, False),
        fault_attempts=counts(attempts, True),
        calls=counts(ended, False),
        fault_calls=counts(ended, True),
    )


def _bad_ending(call: Call) -> str | None:
    """A call's bad end, in words; None if it ended well."""
    if not call.status:
        return f"{call.kind}: never answered"
    if call.kind in FACTS:
        fair = call.outcome in _FAIR_FACTS
        return None if fair else f"{call.kind}: {call.outcome or call.status}"
    if call.accepted or (call.refused and call.outcome in _FAIR_REFUSALS):
        return None
    return f"{call.kind}: {call.status} {call.outcome}".rstrip()


def _effort(history: History) -> Effort:
    late = sorted(call.woken - call.due for call in history.calls)
    queued = sorted(call.sent - call.woken for call in history.calls if call.sent)
    return Effort(
        cpu_share=percentile(sorted(history.cpu_shares), 90),
        late_seconds=percentile(late, 99),
        queued_seconds=percentile(queued, 99),
    )
