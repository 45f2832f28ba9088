"""Differences between an entry and the model's, in words: what is there, what should be."""

from collections.abc import Mapping
from typing import Any

import msgspec

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, DecodedEntry
from atp_service.inventory.model import ModelEntry
from atp_service.verify.decoded_entry import subject, with_gone

Difference = tuple[str, str]  # the name of an image ("" if it is none), and the words


def differences(decoded: DecodedEntry, made: ModelEntry | str) -> list[Difference]:
    """How the entry differs from `made`: the model's entry, or in words why there is none. Empty
    if it does not."""
    if isinstance(made, str):
        names = [name for name, _ in decoded.entry.images]
        return [
            (name, f"{subject(name)} is changed, but the command {made}") for name in names
        ] or [("", f"the command {made}")]
    found: list[Difference] = []
    levels = with_gone(decoded, LEVEL)
    for kind, there, right in (
        (LEVEL, levels, made.levels),
        (RESERVATION, with_gone(decoded, RESERVATION), made.reservations),
        (ORDER, with_gone(decoded, ORDER), made.orders),
    ):
        if there != right:
            found += _of_images(kind, there, right)
    head = decoded.head
    for name in ("kind", "on_hand_deltas", "opened", "settled", "noted", "status", "marks"):
        there, right = getattr(head, name), getattr(made, name)
        if there != right:
            found.append(("", f"{name} {_plain(there)}, should be {_plain(right)}"))
    # The deltas stand in the order of the levels.
    if not found and len(levels) > 1 and list(levels) != list(made.levels):
        found.append(("", "its levels stand in another order"))
    return found


def _of_images(kind: str, there: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    found = []
    for key in dict.fromkeys((*there, *right)):
        name = kind + key
        if key not in there:
            found.append((name, f"{subject(name)} should be changed, and isn't"))
        elif key not in right:
            found.append((name, f"{subject(name)} is changed, and should not be"))
        elif there[key] != right[key]:
            found.append((name, f"{subject(name)} {members(there[key], right[key])}"))
    return found


def members(there: msgspec.Struct | None, right: msgspec.Struct | None) -> str:
    """`on_hand 7, should be 9`, for each member that differs; None: it is gone."""
    if there is None or right is None:
        return "is gone, and should not be" if there is None else "should be gone"
    return "; ".join(
        f"{name} {_plain(getattr(there, name))}, should be {_plain(getattr(right, name))}"
        for name in there.__struct_fields__
        if getattr(there, name) != getattr(right, name)
    )


def _plain(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    return msgspec.json.encode(value).decode()
