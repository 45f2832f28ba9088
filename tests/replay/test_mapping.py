"""A mapping that can't be used is refused before the first row, in one line that names the key."""

from pathlib import Path

import pytest

from atp_service.adapters.mapping.config import MappingError, load_mapping, read_time

TIME = """column = "Sold"
format = "%d/%m/%Y %H:%M"
zone = "Europe/London"
"""
GOOD = """
feed = "pos/corner-shop"

[columns]
Receipt = {}
Item = { case = "upper" }
Pieces = { number = true }

[time]
TIME

[data]
sku = { column = "Item" }
location = "CORNER"
quantity = { column = "Pieces" }

[[ignore]]
column = "Item"
in = ["POST"]

[[rules]]
when = { column = "Receipt", starts_with = "C" }
type = "return"
data = { quantity = { column = "Pieces", negate = true } }

[[rules]]
type = "sale"
""".replace("TIME", TIME)


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_feed_decides_the_subject(tmp_path: Path) -> None:
    assert load_mapping(write(tmp_path, GOOD)).subject == "atp.events.pos.corner-shop"


def test_a_feed_with_odd_characters_still_has_a_plain_subject(tmp_path: Path) -> None:
    text = GOOD.replace("pos/corner-shop", "pos/St. Ives *1/till 2")
    assert load_mapping(write(tmp_path, text)).subject == "atp.events.pos.St__Ives__1.till_2"


def test_the_kind_may_be_named_where_the_feed_does_not_begin_with_one(tmp_path: Path) -> None:
    text = GOOD.replace('"pos/corner-shop"', '"corner-shop"\nkind = "ecom"')
    assert load_mapping(write(tmp_path, text)).subject == "atp.events.ecom.corner-shop"


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ('type = "sale"', 'type = "sold"', "rules number 2.type"),
        ('type = "sale"', 'typ = "sale"', "rules number 2"),
        (
            'type = "sale"',
            'type = "sale"\nwhen = { column = "Item", in = ["X"] }',
            "rules number 2",
        ),
        ('starts_with = "C"', 'begins = "C"', "begins: no such key"),
        ('column = "Receipt", starts_with', 'column = "Reciept", starts_with', "'Reciept'"),
        (', starts_with = "C"', "", "names none of"),
        ('"Receipt", starts_with = "C"', '"Receipt", below = 0', "rules number 1.when.below"),
        ('"Receipt", starts_with = "C"', '"Pieces", equals = "1"', "rules number 1.when"),
        ('quantity = { column = "Pieces" }', "quantiti = 1", "quantiti"),
        ('column = "Pieces", negate', 'column = "Item", negate', "rules number 1.data.quantity"),
        ("number = true", 'number = "yes"', "columns"),
        ("Europe/London", "Europe/Londinium", "time.zone"),
        ("%d/%m/%Y", "%d/%m/%Q", "time.format"),
        ('column = "Sold"\n', "", "time: needs"),
        ('column = "Sold"', "at = 2026-03-01T06:00:00Z", "time: `at`"),
        ('column = "Sold"', "at = 2026-03-01T06:00:00", "time.at"),
        (TIME, "at = 2999-03-01T06:00:00Z", "time.at"),
        ("[columns]", "final = true\n[columns]", "final: no rule"),
        ('feed = "pos/corner-shop"', 'feed = "corner-shop"', "kind"),
        ('feed = "pos/corner-shop"', 'feed = "pos/{1}"', "feed"),
        ('feed = "pos/corner-shop"', "", "feed: missing"),
        ('feed = "pos/corner-shop"', 'feed = "pos/corner-shop', ":2: not TOML"),
        ("[columns]", '[file]\nencoding = "utf-9"\n[columns]', "file.encoding"),
        ('[[rules]]\ntype = "sale"', "", "rules number 1.when: the last rule"),
        ('when = { column = "Receipt", starts_with = "C" }', "", "rules number 1"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_where(
    tmp_path: Path, good: str, bad: str, named: str
) -> None:
    assert good in GOOD
    path = write(tmp_path, GOOD.replace(good, bad))
    with pytest.raises(MappingError) as refused:
        load_mapping(path)
    message = str(refused.value)
    assert named in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01", "2026-03-01T06:00:00"])
def test_a_time_without_its_offset_is_none(text: str) -> None:
    with pytest.raises(MappingError, match="is not a time such as"):
        read_time(text)


def test_a_mapping_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="No such file"):
        load_mapping(tmp_path / "none.toml")
