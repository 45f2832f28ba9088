"""Differences that a repair removed: values with their fields' names, and in words."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from atp_service.inventory.commands import Command, RepairLevel, RepairOrder, RepairReservation
from atp_service.inventory.stock import StockLevel

_MOST = 12  # fields in words; beyond them it is a list, not a sentence
_NOTHING_READABLE: Final = "nothing readable"
_NOTHING: Final = (None, 0, "")
_TIMES: Final = frozenset(
    (
        *("created_at", "updated_at", "expires_at", "closed_at"),  # of levels and reservations
        *("counted_at", "expected_at", "settled_at", "due_at"),
    )
)


def named(value: Any) -> Any:
    """The value as JSON has it, an array's places as the fields they are."""
    match value:
        case msgspec.Struct():
            fields = {
                name: named(getattr(value, name))
                for name in value.__struct_fields__
                if name != "extras"
            }
            extras = msgspec.to_builtins(value.extras) if isinstance(value, StockLevel) else {}
            return fields | extras
        case list() | tuple():
            return [named(item) for item in value]
    return value


def in_words(found: Any, right: Any, nothing: str = "nothing") -> str:
    """What was found and what would have been right, both as `named` gives them; None is `nothing`.
    Of two values only the fields that differ are named; empty if none does."""
    if found is None and right is None:
        return ""
    if found is None:
        return f"{nothing} was there; right is {_listed(right)}"
    if isinstance(found, dict) and "unreadable" in found:
        return f"what was there can't be read; right is {_listed(right)}"
    if right is None:
        return f"{_listed(found)} was there; right is nothing"
    was, is_right = dict(_fields(found)), dict(_fields(right))
    differing = [name for name in {**was, **is_right} if was.get(name) != is_right.get(name)]
    parts = [
        f"{name} was {_word(was.get(name))}, right is {_word(is_right.get(name))}".lstrip()
        for name in differing[:_MOST]
    ]
    if len(differing) > _MOST:
        parts.append(f"and {len(differing) - _MOST} more")
    return "; ".join(parts)


def of_repair(command: Command) -> str:
    """What a repair found and what it held to be right, in words; empty for other commands."""
    match command:
        case RepairLevel(found=found, right=right):
            return in_words(named(found), named(right), _NOTHING_READABLE) or (
                "the numbers were right; their bytes, or the list of the SKU's locations, were not"
            )
        case RepairOrder(found=found, right=right):
            return in_words(named(found), named(right), _NOTHING_READABLE) or (
                "the index was right; its bytes or its deadline were not"
            )
        case RepairReservation(found_seq=found_seq, right=right):
            was = _NOTHING_READABLE if found_seq is None else f"what entry {found_seq} left"
            if right is None:
                return f"{was}, or its deadline, was there; right is nothing"
            if found_seq == right.seq:
                return f"it was not what entry {right.seq} left ({right.status}), or its deadline"
            return f"{was} was there; right is what entry {right.seq} left ({right.status})"
    return ""


def _listed(value: Any) -> str:
    """The value's fields; those that are zero or empty are left out."""
    listed = [
        f"{name} {_word(part)}".lstrip() for name, part in _fields(value) if part not in _NOTHING
    ]
    more = [f"and {len(listed) - _MOST} more"] if len(listed) > _MOST else []
    return ", ".join([*listed[:_MOST], *more]) or "nothing"


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All that is in it, each by its path."""
    match value:
        case dict():
            for key, part in value.items():
                yield from _fields(part, f"{name} {key}".lstrip())
        case list():
            for place, part in enumerate(value, 1):
                yield from _fields(part, f"{name} {place}".lstrip())
        case int() | float() if value and name.rpartition(" ")[2] in _TIMES:
            yield name, _time(value)
        case _:
            yield name, value


def _word(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _time(at_ms: float) -> str:
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError):
        return str(at_ms)  # no time at all
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
