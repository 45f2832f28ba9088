"""Figures of two commits are compared only if both boards mean the same by them."""

from loadtests.bench.commits import figures_of

CHECK = {"what": "CPU a hold", "figure": 26.0, "unit": "µs", "at_most": True}
NOTE = "hold 25,400 /s (24,000 – 26,000), p99 7.00 ms; 1,000 SKUs"


def test_the_figures_of_a_row_are_its_checks_and_those_with_a_unit_in_its_notes() -> None:
    figures = figures_of({"checks": [CHECK], "notes": [NOTE]}).values()
    assert [(one.what, one.value, one.unit, one.is_cost) for one in figures] == [
        ("CPU a hold", 26.0, "µs", True),
        ("hold", 25_400.0, "/s", False),
        ("… p99", 7.0, "ms", True),
    ]


def test_a_note_of_the_same_words_has_the_same_figures_whatever_its_numbers() -> None:
    same = "hold 9.10 /s (8.00 – 9.90), p99 11.0 ms; 50 SKUs"
    other = "empty 9.10 /s (8.00 – 9.90), p99 11.0 ms; 50 SKUs"
    figures = [figures_of({"checks": [], "notes": [note]}).keys() for note in (NOTE, same, other)]
    assert figures[0] == figures[1]
    assert figures[0].isdisjoint(figures[2])
