"""The mapping, applied: a row becomes a canonical event."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from atp_service.adapters.mapping.config import (
    Column,
    Condition,
    FromColumn,
    Mapping,
    MappingError,
    Time,
)

Row = Sequence[str]
Value = str | int | None

# A year of a shop's rows has few different codes, quantities and minutes: each is parsed once.
_REMEMBERED = 1 << 16

_WHOLE = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")


class RowError(Exception):
    """A row without an event: a bad number or time, or missing columns."""


class Event(Struct, frozen=True, kw_only=True):
    """A canonical event: a CloudEvent 1.0."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str
    data: dict[str, Value]


encode_event = msgspec.json.Encoder().encode


class _Rule(Struct, frozen=True):
    """A rule of the mapping as functions of a row."""

    kind: str
    event_type: str
    conditions: list[Callable[[Row], bool]]
    data: list[tuple[str, Callable[[Row], Value]]]


class RowReader:
    """Reads the rows of one file: `reader(number, row)` is a row's event.

    Raises MappingError if the file lacks columns.
    """

    def __init__(self, mapping: Mapping, header: Sequence[str], file_id: str) -> None:
        if missing := sorted(mapping.headers - set(header)):
            lacks = f"the file has no column {', '.join(missing)}"
            raise MappingError(f"{lacks}; it has {', '.join(header)}")
        self._columns = {
            name: _column(header.index(name), column) for name, column in mapping.columns.items()
        }
        self._width = 1 + max((header.index(name) for name in mapping.headers), default=0)
        self._feed = mapping.feed
        self._prefix = f"{file_id}:"
        self._time = _times(mapping.time, header)
        self._ignore = [self._condition(condition) for condition in mapping.ignore]
        self._rules = [
            _Rule(
                kind=rule.type,
                event_type=f"atp.stock.{rule.type}.v1",
                conditions=[self._condition(condition) for condition in rule.conditions],
                data=[(name, self._value(v)) for name, v in {**mapping.data, **rule.data}.items()],
            )
            for rule in mapping.rules
        ]

    def __call__(self, number: int, row: Row) -> tuple[str, Event] | None:
        """A row's type (`sale`) and event; None if it is ignored. Raises RowError."""
        if len(row) < self._width:
            raise RowError(f"the row has {len(row)} columns")
        if any(ignored(row) for ignored in self._ignore):
            return None
        rule = next(rule for rule in self._rules if all(holds(row) for holds in rule.conditions))
        return rule.kind, Event(
            id=f"{self._prefix}{number}",
            source=self._feed,
            type=rule.event_type,
            time=self._time(row),
            data={name: value(row) for name, value in rule.data},
        )

    def _condition(self, condition: Condition) -> Callable[[Row], bool]:
        read = self._columns[condition.column]
        tests: list[Callable[[Any], bool]] = []
        if condition.equals is not None:
            wanted = condition.equals
            tests.append(lambda value: bool(value == wanted))
        if condition.one_of is not None:
            tests.append(frozenset(condition.one_of).__contains__)
        if condition.starts_with is not None:
            starts = condition.starts_with
            prefixes = (starts,) if isinstance(starts, str) else tuple(starts)
            tests.append(lambda value: value is not None and value.startswith(prefixes))
        if condition.below is not None:
            below = condition.below
            tests.append(lambda value: value is not None and value < below)
        return lambda row: all(test(read(row)) for test in tests)

    def _value(self, value: str | int | FromColumn) -> Callable[[Row], Value]:
        if not isinstance(value, FromColumn):
            return lambda _row: value
        read = self._columns[value.column]
        if not value.negate:
            return read
        return lambda row: -number if isinstance(number := read(row), int) else None


def _column(at: int, column: Column) -> Callable[[Row], Value]:
    @lru_cache(_REMEMBERED)
    def read(text: str) -> Value:
        if column.strip:
            text = text.strip()
        if column.case is not None:
            text = text.upper() if column.case == "upper" else text.lower()
        if not text:
            return None
        return _whole(text) if column.number else _written(text)

    return lambda row: read(row[at])


def _whole(text: str) -> int:
    """`6`, `-6`, and `6.0` as spreadsheets write it."""
    if not _WHOLE.fullmatch(text):
        raise RowError(f"{text!r} is not a whole number")
    return int(text.partition(".")[0])


def _written(text: str) -> str:
    if not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text):
        raise RowError(f"{text!r} is not in the file's encoding")
    return text


def _times(time: Time, header: Sequence[str]) -> Callable[[Row], str]:
    if time.at is not None:
        always = _rfc3339(time.at)
        return lambda _row: always
    at, written = header.index(time.column or ""), time.format or ""
    zone = ZoneInfo(time.zone or "")

    @lru_cache(_REMEMBERED)
    def read(text: str) -> str:
        try:
            then = datetime.strptime(text.strip(), written)  # noqa: DTZ007 – the zone follows
        except ValueError as error:
            raise RowError(f"{text!r} is not a time written as {written}") from error
        return _rfc3339(then.replace(tzinfo=zone) if then.tzinfo is None else then)

    return lambda row: read(row[at])


def _rfc3339(time: datetime) -> str:
    moment = time.astimezone(UTC).isoformat(timespec="milliseconds")
    return moment.removesuffix("+00:00") + "Z"
