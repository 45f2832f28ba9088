"""Figures about those who came, worked out from calls written by hand."""

import msgspec
import pytest

from atp_service.rehearse.faults import FaultWindow
from atp_service.rehearse.history import Call, History
from atp_service.rehearse.measures import FAULT, Measures, measure, percentile, rank_correlation
from atp_service.rehearse.scenario import Targets, load_scenario
from atp_service.rehearse.verdict import judge
from tests.rehearse.forged_history import NAMES, SKU, Sale, call
from tests.rehearse.test_scenario import EXAMPLE

SCENARIO = load_scenario(EXAMPLE)


def measured(*calls: Call, window: FaultWindow | None = None, cpu_share: float = 0.1) -> Measures:
    history = History(
        names=NAMES,
        started_at=0.0,
        clock_at=0.0,
        hold_seconds=900,
        received={SKU: 2},
        calls=list(calls),
        cpu_shares=[cpu_share],
    )
    return measure(SCENARIO, history, window)


def asked(buyer: int, at: float, status: int = 201) -> Call:
    outcome = "" if status == 201 else "insufficient-stock"
    return call("hold", f"sale-1-{buyer}", at, status=status, outcome=outcome)


def with_faults(one: Call, **changes: object) -> Call:
    return msgspec.structs.replace(one, **changes)


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 1001)]
    assert [percentile(ordered, p) for p in (50, 95, 99, 99.9)] == [500, 950, 990, 999]
    assert percentile([7.0], 99.9) == 7.0
    assert percentile([], 50) == 0.0


def test_a_call_that_could_not_be_sent_in_time_is_late_from_when_it_was_due() -> None:
    late = with_faults(asked(1, 30.0), woken=30.001, sent=34.0, answered=34.01)
    (latency,) = measured(late).latencies
    assert latency.p50 == 4010


def test_accepted_and_refused_are_told_apart_and_a_faults_calls_from_the_phase() -> None:
    window = FaultWindow("kill-redis", 40.0, 42.0)
    found = measured(
        asked(1, 30.0), asked(2, 31.0, 409), asked(3, 39.7), asked(4, 41.0), window=window
    )
    kinds = [(one.phase, one.kind, one.count) for one in found.latencies]
    assert kinds == [
        ("plateau", "accepted", 1),
        ("plateau", "refused", 1),
        (FAULT, "accepted", 2),  # one was waiting when it struck
    ]


def test_fair_is_when_the_first_to_ask_win() -> None:
    fair = measured(asked(1, 25.0), asked(2, 26.0), asked(3, 27.0, 409), asked(4, 28.0, 409))
    assert (fair.fairness.first_share, fair.fairness.correlation) == (1.0, 1.0)
    unfair = measured(asked(1, 25.0, 409), asked(2, 26.0, 409), asked(3, 27.0), asked(4, 28.0))
    assert (unfair.fairness.first_share, unfair.fairness.correlation) == (0.0, -1.0)
    assert fair.refused_share == 0.5
    assert rank_correlation([True, False, False, True]) == 0.0
    assert rank_correlation([True, True]) == 0.0


def test_sold_out_is_when_somebody_is_told_there_are_none() -> None:
    opens_at = SCENARIO.opens_at
    found = measured(asked(1, opens_at), asked(2, opens_at + 3, 409), asked(3, opens_at + 9, 409))
    assert found.sold_out == {SKU: pytest.approx(3.5)}
    assert measured(asked(1, 25.0)).sold_out == {SKU: None}


def test_errors_within_a_faults_window_are_counted_apart() -> None:
    window = FaultWindow("kill-api", 40.0, 41.0)
    within = with_faults(asked(1, 40.5), faults=["reset"], fault_times=[40.6])
    timed_out = with_faults(asked(2, 40.9), faults=["timeout"], fault_times=[45.8])
    outside = with_faults(asked(3, 60.0), faults=["503"], fault_times=[60.1])
    never = with_faults(asked(4, 70.0), status=0, outcome="")
    found = measured(within, timed_out, outside, never, window=window).errors
    assert found.fault_attempts == {"reset": 1, "timeout": 1}
    assert found.attempts == {"503": 1}
    assert found.calls == {"hold: never answered": 1}
    assert found.fault_calls == {}


def test_a_call_that_ended_badly_fails_the_verdict_and_a_faults_does_not() -> None:
    sale = Sale()
    sale.receive(5)
    clean = sale.audited_unrecorded()
    never = with_faults(asked(1, 40.0), status=0, outcome="")
    assert not judge(SCENARIO, clean, measured(never), None).held
    excused = measured(never, window=FaultWindow("kill-api", 39.0, 41.0))
    assert judge(SCENARIO, clean, excused, None).held
    unexpected = with_faults(asked(1, 40.0), status=422, outcome="unknown-sku")
    assert measured(unexpected).errors.calls == {"hold: 422 unknown-sku": 1}


def test_an_audit_that_found_something_fails_the_verdict_even_within_a_fault() -> None:
    sale = Sale()
    sale.receive(1)
    sale.hold(1, 2)
    window = FaultWindow("kill-redis", 0.0, 100.0)
    verdict = judge(SCENARIO, sale.audited_unrecorded(), measured(window=window), None)
    assert not verdict.held


def test_a_generator_without_breath_is_said_and_no_latency_is_judged_by_it() -> None:
    strict = msgspec.structs.replace(SCENARIO, targets=Targets(p99_ms=100.0))
    sale = Sale()
    sale.receive(5)
    clean = sale.audited_unrecorded()
    calm, busy = measured(asked(1, 40.0)), measured(asked(1, 40.0), cpu_share=0.99)
    assert not judge(strict, clean, calm, None).held
    judged = judge(strict, clean, busy, None)
    assert judged.held
    assert any("generator was the bottleneck" in remark for remark in judged.remarks)
    late = measured(*(with_faults(asked(n, 40.0), woken=40.2) for n in range(9)))
    remarks = judge(strict, clean, late, None).remarks
    assert any("kept from the processor" in remark for remark in remarks)
    remarks = judge(strict, clean, calm, None).remarks
    assert not any("generator" in remark for remark in remarks)
