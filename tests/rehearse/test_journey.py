"""Buyers: whatever chance and the service say, a visit ends, and asks only what makes sense."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from atp_service.rehearse.journey import Ask, journey
from atp_service.rehearse.run_names import names_of
from atp_service.rehearse.scenario import load_scenario
from tests.rehearse.test_scenario import EXAMPLE

SCENARIO = load_scenario(EXAMPLE)
NAMES = names_of(SCENARIO, "sale-1")


def visit(seed: int, statuses: list[int], sale: float = 0.9) -> list[Ask]:
    """All that is asked; the statuses are the answers, the last one from then on."""
    clicks = journey(SCENARIO, NAMES, "sale-1-7", sale, Random(seed))
    asked = [next(clicks)]
    while len(asked) < 10:
        try:
            asked.append(clicks.send(statuses[min(len(asked), len(statuses)) - 1]))
        except StopIteration:
            return asked
    raise AssertionError(f"a visit without end: {asked}")


@given(st.integers(), st.lists(st.sampled_from([0, 200, 201, 409, 404, 422]), min_size=1))
def test_a_visit_ends_and_buys_only_what_it_holds(seed: int, statuses: list[int]) -> None:
    asked = visit(seed, statuses)
    clicks = [ask.click for ask in asked]
    assert clicks in (
        ["browse"],
        ["browse", "hold"],
        ["browse", "hold", "confirm"],
        ["browse", "hold", "change", "confirm"],
    )
    for ask in asked:
        assert all(line.quantity in (1, 2) for line in ask.cart)
        assert len({line.sku for line in ask.cart}) == len(ask.cart)
    if "confirm" in clicks:
        assert statuses[min(1, len(statuses) - 1)] in (200, 201)
    if "change" in clicks:
        changed = statuses[min(2, len(statuses) - 1)] in (200, 201)
        assert asked[3].cart == (asked[2].cart if changed else asked[1].cart)
        assert asked[2].cart != asked[1].cart


def test_buyers_do_what_the_mix_says() -> None:
    visits = [visit(seed, [201]) for seed in range(4_000)]
    did = Counter(
        "repeat" if visit[-1].copies == 2 else "-".join(ask.click for ask in visit)
        for visit in visits
    )
    shares = {what: round(times / len(visits), 1) for what, times in did.items()}
    assert shares["browse"] in (0.3, 0.4)
    assert shares["browse-hold-confirm"] == 0.3
    assert shares["browse-hold-change-confirm"] == shares["repeat"] == 0.1
    on_sale = sum(visit[0].cart[0].sku in NAMES.sale for visit in visits) / len(visits)
    assert 0.87 < on_sale < 0.93


def test_the_same_chance_is_the_same_visit() -> None:
    assert visit(3, [201]) == visit(3, [201])
