"""How an entry differs from what its command comes to, in words: what is there, what should be."""

from collections.abc import Mapping
from typing import Any

import msgspec

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, DecodedEntry
from atp_service.inventory.model import ModelEntry
from atp_service.verify.decoded_entry import subject

Difference = tuple[str, str]  # the name of an image, "" where it is none; and the words


def differences(decoded: DecodedEntry, made: ModelEntry | str) -> list[Difference]:
    """What the entry says, and what the model makes of its command."""
    if isinstance(made, str):
        names = [name for name, _ in decoded.entry.images]
        return [
            (name, f"{subject(name)} is changed, but the command {made}") for name in names
        ] or [("", f"the command {made}")]
    found: list[Difference] = []
    for what, told, right in (
        (LEVEL, decoded.levels, made.levels),
        (RESERVATION, decoded.reservations, made.reservations),
        (ORDER, decoded.orders, made.orders),
    ):
        found += _of_images(what, told, right)
    head = decoded.head
    for name in ("kind", "on_hand_deltas", "opened", "settled", "noted"):
        told, right = getattr(head, name), getattr(made, name)
        if told != right:
            found.append(("", f"{name} {_plain(told)}, should be {_plain(right)}"))
    return found or [("", "its levels stand in another order")]


def _of_images(what: str, told: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    found = []
    for key in dict.fromkeys((*told, *right)):
        name = f"{what}{key}"
        if key not in told:
            found.append((name, f"{subject(name)} should be changed, and isn't"))
        elif key not in right:
            found.append((name, f"{subject(name)} is changed, and should not be"))
        elif told[key] != right[key]:
            found.append((name, f"{subject(name)} {members(told[key], right[key])}"))
    return found


def members(told: msgspec.Struct, right: msgspec.Struct) -> str:
    """`on_hand 7, should be 9`, for each member that differs."""
    return "; ".join(
        f"{name} {_plain(getattr(told, name))}, should be {_plain(getattr(right, name))}"
        for name in told.__struct_fields__
        if getattr(told, name) != getattr(right, name)
    )


def _plain(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    return msgspec.json.encode(value).decode()
