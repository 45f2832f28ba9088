"""Scenario files: one that can be used, shrunk, and mistakes told with their line."""

from pathlib import Path

import pytest

from atp_service.rehearse.scenario import ScenarioError, load_scenario
from tests.instance import ROOT

EXAMPLE = ROOT / "examples" / "flash-sale.toml"


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("units = 1_000", "units = 0", "sale.units"),
        ("skus = 5", 'skus = "five"', "sale.skus"),
        ("second_line = 0.1", "secondline = 0.1", "buyer.secondline: no such key"),
        ("browse = 0.35", "browse = 0.45", "[mix]"),
        ("think_seconds = [0.5, 2.5]", "think_seconds = [2.5, 0.5]", "buyer.think_seconds"),
        ("facts_per_second = 100", "facts_per_second = -1", "operations.facts_per_second"),
        ('name = "tail"', 'name = "ramp"', "phases number 4.name"),
        ("seconds = 65", "seconds = 0", "phases number 3.seconds"),
        ("seconds = 65", "", "phases number 3.seconds: missing"),
        ("skus = 100", "skus = ", "not TOML"),
        ("buyers = 100_000", "buyers = 100_000\nbuyers = 3", "not TOML"),
    ],
)
def test_a_mistake_names_its_line(right: str, wrong: str, words: str, tmp_path: Path) -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(right))
    lines[at : at + 1] = wrong.splitlines() or [""]
    file = tmp_path / "flash-sale.toml"
    file.write_text("\n".join(lines), "utf-8")
    expected = at + max(1, len(wrong.splitlines()))
    if words == "[mix]":  # the shares are wrong together
        words, expected = "mix: the shares add up to 1.1", lines.index("[mix]") + 1
    elif words.endswith("missing"):  # the table it is missing from
        expected = lines.index('name = "plateau"')
    with pytest.raises(ScenarioError) as mistake:
        load_scenario(file)
    assert str(mistake.value).startswith(f"{file}:{expected}: ")
    assert words in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml: No such file"):
        load_scenario(tmp_path / "none.toml")


def test_a_smaller_sale_has_fewer_buyers_units_and_facts_in_the_same_time() -> None:
    whole = load_scenario(EXAMPLE)
    small = whole.scaled(0.02)
    assert (small.buyers, small.sale.units, small.everyday.units) == (2_000, 20, 40)
    assert small.operations.facts_per_second == 2
    assert small.seconds == whole.seconds
    assert small.normal_rate == pytest.approx(whole.normal_rate * 0.02)
    assert whole.scaled(1e-9).sale.units == 1


def test_everybody_arrives_once_in_order_and_at_the_rate_of_the_moment() -> None:
    scenario = load_scenario(EXAMPLE)
    coming = list(scenario.arrivals())
    times = [at for at, _ in coming]
    assert len(times) == scenario.buyers
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < scenario.seconds
    in_baseline = sum(at < 20 for at in times)
    in_a_second_of_the_plateau = sum(60 <= at < 61 for at in times)
    assert in_a_second_of_the_plateau == pytest.approx(12 * in_baseline / 20, rel=0.01)
    assert {phase.name for at, phase in coming if at > 95} == {"tail"}
