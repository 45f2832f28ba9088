"""The terms of a level follow from the level, its channel and whether it is sold."""

from hypothesis import given
from hypothesis import strategies as some

from atp_service.availability.terms import incoming_of, level_of_image, terms_of, units_by_day
from atp_service.inventory.stock import Document, Extras, StockLevel

_units = some.integers(-5, 50)
_names = some.text(min_size=1, max_size=4)
_etas = some.sampled_from(["", "2026-11-30", "2026-12-01T08:00:00Z"])
_documents = some.builds(
    Document,
    expected=some.none() | some.integers(0, 20),
    received=some.integers(0, 20),
    eta=_etas,
    transfer=some.booleans(),
)
_extras = some.builds(
    Extras,
    counted_at=some.none() | some.integers(0, 2**41),
    safety_stock=some.none() | some.integers(0, 10),
    states=some.dictionaries(_names, _units, max_size=3),
    documents=some.dictionaries(_names, _documents, max_size=3),
)
_levels = some.builds(
    StockLevel,
    on_hand=_units,
    reserved=_units,
    allocated=_units,
    version=some.integers(1, 9),
    moves=some.integers(0, 9),
    updated_at=some.integers(1, 2**41),
    extras=_extras,
)


@given(level=_levels, of_channel=some.integers(0, 5), sold=some.booleans())
def test_the_terms_of_a_level_add_up(level: StockLevel, of_channel: int, sold: bool) -> None:
    terms = terms_of(level, of_channel, sold=sold)
    own = level.extras.safety_stock
    withheld = of_channel if own is None else own
    unavailable = {state: units for state, units in level.extras.states.items() if units > 0}
    sellable = level.on_hand - sum(unavailable.values()) - level.reserved - level.allocated
    assert terms.atf == sellable
    assert terms.ats == (max(0, sellable - withheld) if sold else 0)
    assert terms.unavailable == unavailable
    assert terms.safety_stock == withheld
    assert (terms.on_hand, terms.reserved, terms.allocated) == (
        level.on_hand,
        level.reserved,
        level.allocated,
    )


@given(level=_levels)
def test_units_that_are_due_are_listed_the_earliest_first(level: StockLevel) -> None:
    incoming = incoming_of(level.extras.documents)
    due = {
        name: expected.expected - expected.received
        for name, expected in level.extras.documents.items()
        if expected.expected is not None and expected.expected > expected.received
    }
    assert {one.document: one.quantity for one in incoming} == due
    etas = [one.eta or "9999" for one in incoming]
    assert etas == sorted(etas)


@given(level=_levels, sold=some.booleans())
def test_a_day_has_no_more_than_a_later_one(level: StockLevel, sold: bool) -> None:
    days = ["2026-11-29", "2026-11-30", "2026-12-01"]
    units = units_by_day(level, 1, days, sold=sold)
    assert units == sorted(units)
    dated = sum(one.quantity for one in incoming_of(level.extras.documents) if one.eta)
    most = max(0, level.atf - level.safety_stock(1) + dated) if sold else 0
    assert units[-1] == most


def test_a_level_that_never_was_or_can_t_be_read_has_nothing() -> None:
    for image in (None, b"\xc1"):
        level = level_of_image(image)
        terms = terms_of(level, 2, sold=True)
        assert (terms.ats, terms.atf, terms.on_hand, level.updated_at) == (0, 0, 0, 0)
