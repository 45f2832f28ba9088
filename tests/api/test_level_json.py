"""What a page is told of a level follows from the level, however often it was asked before."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from msgspec import json, msgpack

from atp_service.api.level_json import (
    DayAvailability,
    FeedAge,
    LocationAvailability,
    cell_of_image,
)
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
_feeds = some.lists(
    some.builds(FeedAge, _names, some.none() | some.just(1.5), some.booleans()), max_size=2
)
_days = some.none() | some.lists(some.builds(DayAvailability, _names, _units), max_size=3)
_refusals = some.sampled_from([None, "location-closed"])


def on_page(
    level: StockLevel | None,
    refusal: str | None,
    of_channel: int,
    days: Any = None,
    feeds: Any = (),
) -> tuple[dict[str, Any], int, int]:
    """The document, and what a total takes from the level, by way of Redis's image of it."""
    image = None if level is None else msgpack.encode(level)
    cell = cell_of_image(image, "DC-1", refusal, of_channel)
    return json.decode(cell.written(json.encode(list(feeds)), days)), cell.ats, cell.atf


@given(level=_levels, refusal=_refusals, of_channel=some.integers(0, 5), days=_days, feeds=_feeds)
def test_the_page_says_what_the_level_says(
    level: StockLevel,
    refusal: str | None,
    of_channel: int,
    days: list[DayAvailability] | None,
    feeds: list[FeedAge],
) -> None:
    document, ats, atf = on_page(level, refusal, of_channel, days, feeds)
    own = level.extras.safety_stock
    withheld = of_channel if own is None else own
    unavailable = {state: units for state, units in level.extras.states.items() if units > 0}
    sellable = level.on_hand - sum(unavailable.values()) - level.reserved - level.allocated
    due = {
        name: expected.expected - expected.received
        for name, expected in level.extras.documents.items()
        if expected.expected is not None and expected.expected > expected.received
    }
    assert (ats, atf) == (document["ats"], document["atf"])
    assert document["atf"] == sellable
    assert document["ats"] == (0 if refusal else max(0, sellable - withheld))
    assert document["unavailable"] == unavailable
    assert document["safety_stock"] == withheld
    assert {one["document"]: one["quantity"] for one in document["incoming"]} == due
    etas = [one["eta"] or "9999" for one in document["incoming"]]
    assert etas == sorted(etas)
    for name in ("on_hand", "reserved", "allocated", "version"):
        assert document[name] == getattr(level, name)
    assert document["feeds"] == json.decode(json.encode(feeds))
    assert document.get("days") == (None if days is None else json.decode(json.encode(days)))
    # Put together from pieces, it is still the document that the OpenAPI page describes.
    json.decode(json.encode(document), type=LocationAvailability, strict=True)
    named = [one for one in LocationAvailability.__struct_fields__ if one != "days"]
    assert list(document) == named + (["days"] if days is not None else [])


@given(level=_levels, later=_levels)
def test_nothing_outdated_is_remembered(level: StockLevel, later: StockLevel) -> None:
    on_page(level, None, 0)
    document, ats, _ = on_page(later, None, 0)
    assert document["on_hand"] == later.on_hand
    assert ats == later.ats()


def test_a_channel_s_safety_stock_and_a_closed_location_count_at_once() -> None:
    level = StockLevel(on_hand=10, version=1)
    assert [on_page(level, None, of_channel)[1] for of_channel in (0, 3, 0)] == [10, 7, 10]
    assert on_page(level, "location-closed", 0)[1] == 0
    assert on_page(level, None, 0)[1] == 10


def test_a_level_that_never_was_or_can_t_be_read_has_nothing() -> None:
    never, *totals = on_page(None, None, 2)
    assert totals == [0, 0]
    damaged = cell_of_image(b"\xc1", "DC-1", None, 2)
    assert json.decode(damaged.written(b"[]", None)) == never
    assert (never["on_hand"], never["updated_at"], never["incoming"]) == (0, None, [])
