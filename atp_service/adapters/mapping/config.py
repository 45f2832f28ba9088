"""The mapping file: the columns of a source's file, and the meaning of its rows.

It is TOML, checked whole before the first row is read; `docs/replay.md` explains every key.
"""

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct, field

from atp_service.facts.canonical_events import AHEAD_MS, StockEvent, milliseconds
from atp_service.toml_file import Keys, Mistake, read_toml

DataField = Literal[
    "sku",
    "location",
    "quantity",
    "unit",
    "sequence",
    "reason",
    "order_id",
    "reservation_id",
    "document",
    "shipment_id",
    "disposition",
    "from",
    "to",
    "eta",
    "from_state",
    "to_state",
]
Kind = Literal["pos", "wms", "erp", "oms", "ecom", "3pl"]
FeedId = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f{}]+$", max_length=64)]


_EVENTS: tuple[Any, ...] = get_args(StockEvent)
_TYPES = [str(event.__struct_config__.tag).split(".")[2] for event in _EVENTS]


class MappingError(Exception):
    """The mapping cannot be used; the message is one line that names the key."""


class Column(Struct, frozen=True, forbid_unknown_fields=True):
    """How a column's text becomes a value."""

    strip: bool = True
    case: Literal["upper", "lower"] | None = None
    number: bool = False


class FromColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """A value taken from the row."""

    column: str
    negate: bool = False


Data = dict[DataField, str | int | FromColumn]


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    """True of a row if all tests that are named hold for its column."""

    column: str
    equals: str | int | None = None
    one_of: list[str | int] | None = field(default=None, name="in")
    starts_with: str | list[str] | None = None
    below: int | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """The type of the rows that meet `when`, and their data beside `[data]`."""

    type: str
    when: Condition | list[Condition] = []
    data: Data = {}

    @property
    def conditions(self) -> list[Condition]:
        return self.when if isinstance(self.when, list) else [self.when]


class Time(Struct, frozen=True, forbid_unknown_fields=True):
    """The time of a row: from its column, or one time for all."""

    column: str | None = None
    format: str | None = None
    zone: str | None = None
    at: Annotated[datetime, Meta(tz=True)] | None = None


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """The format of the file."""

    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"


class Mapping(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping file, decoded and checked."""

    feed: FeedId
    columns: dict[str, Column]
    rules: Annotated[list[Rule], Meta(min_length=1)]
    time: Time = Time()
    data: Data = {}
    ignore: list[Condition] = []
    file: File = File()
    kind: Kind | None = None
    final: bool = False

    @property
    def subject(self) -> str:
        """The NATS subject of the events: `atp.events.<kind>.<the rest of the feed's id>`."""
        kind, _, rest = self.feed.partition("/")
        words = [re.sub(r"[^A-Za-z0-9_-]", "_", word) for word in (rest or kind).split("/")]
        return ".".join(["atp.events", self.kind or kind, *words])

    @property
    def headers(self) -> set[str]:
        """The columns the file must have."""
        columns = set(self.columns)
        return columns if self.time.column is None else {*columns, self.time.column}


def load_mapping(path: Path, at: datetime | None = None) -> Mapping:
    """The mapping that a file describes. Raises MappingError.

    `at`, if given, is the time of the whole file, in place of the mapping's own.
    """

    def timed(mapping: Mapping) -> Mapping:
        return mapping if at is None else msgspec.structs.replace(mapping, time=Time(at=at))

    return timed(read_toml(path, Mapping, lambda read: _mistakes(timed(read)), MappingError))


def read_time(text: str) -> datetime:
    """A time as RFC 3339 writes it, or a `MappingError`."""
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time
    raise MappingError(f"{text!r} is not a time such as 2026-11-23T06:00:00Z")


def _mistakes(mapping: Mapping) -> Iterator[Mistake]:
    """Mistakes that the types do not rule out."""
    if mapping.kind is None and mapping.feed.partition("/")[0] not in get_args(Kind):
        yield ("kind",), f"missing, and feed {mapping.feed!r} does not begin with one"
    yield from _time_mistakes(mapping.time)
    try:
        codecs.lookup(mapping.file.encoding)
    except LookupError:
        yield ("file", "encoding"), f"unknown encoding {mapping.file.encoding!r}"
    for number, rule in enumerate(mapping.rules):
        keys = ("rules", number)
        last = number == len(mapping.rules) - 1
        if rule.type not in _TYPES:
            yield (*keys, "type"), f"{rule.type!r} is none of {', '.join(_TYPES)}"
        if last and rule.conditions:
            yield (*keys, "when"), "the last rule must have none, so that every row has a type"
        if not last and not rule.conditions:
            yield keys, "without `when` it takes every row, and the rules after it none"
    for place, used in _uses_of_columns(mapping):
        column = mapping.columns.get(used.column)
        if column is None:
            yield place, f"column {used.column!r} is not in [columns]"
        elif isinstance(used, Condition):
            yield from _condition_mistakes(place, used, column)
        elif used.negate and not column.number:
            yield place, f"negate needs column {used.column!r} read as a number"
    if mapping.final and all(rule.type != "snapshot" for rule in mapping.rules):
        yield ("final",), "no rule has the type snapshot"


def _time_mistakes(time: Time) -> Iterator[Mistake]:
    now = datetime.now(UTC)
    if time.at is not None:
        if (time.column, time.format, time.zone) != (None, None, None):
            yield ("time",), "`at` is the time of every row: leave out `column`, `format`, `zone`"
        if milliseconds(time.at) > milliseconds(now) + AHEAD_MS:
            yield ("time", "at"), f"{time.at.isoformat()} is in the future"
        return
    if time.column is None or time.format is None or time.zone is None:
        yield ("time",), "needs `column`, `format` and `zone`, or `at` (or a snapshot's --at)"
        return
    try:
        ZoneInfo(time.zone)
    except (OSError, ValueError, KeyError):  # the type depends on how the name is wrong
        yield ("time", "zone"), f"unknown time zone {time.zone!r}"
    try:
        datetime.strptime(now.strftime(time.format), time.format)  # noqa: DTZ007 – only tried
    except ValueError as error:
        yield ("time", "format"), str(error)


def _uses_of_columns(mapping: Mapping) -> Iterator[tuple[Keys, Condition | FromColumn]]:
    yield from ((("ignore", number), one) for number, one in enumerate(mapping.ignore))
    datas: list[tuple[Keys, Data]] = [(("data",), mapping.data)]
    for number, rule in enumerate(mapping.rules):
        yield from ((("rules", number, "when"), condition) for condition in rule.conditions)
        datas.append((("rules", number, "data"), rule.data))
    for keys, data in datas:
        for name, value in data.items():
            if isinstance(value, FromColumn):
                yield (*keys, name), value


def _condition_mistakes(keys: Keys, condition: Condition, column: Column) -> Iterator[Mistake]:
    tests = (condition.equals, condition.one_of, condition.starts_with, condition.below)
    if all(test is None for test in tests):
        yield keys, "names none of equals, in, starts_with, below"
    if condition.below is not None and not column.number:
        yield (*keys, "below"), f"column {condition.column!r} is not read as a number"
    if condition.starts_with is not None and column.number:
        yield (*keys, "starts_with"), f"column {condition.column!r} is read as a number"
    wanted: list[Any] = [*(condition.one_of or ()), condition.equals]
    kind = int if column.number else str
    for value in wanted:
        if value is not None and not isinstance(value, kind):
            yield keys, f"{value!r} can't equal column {condition.column!r}, which is {kind}"
