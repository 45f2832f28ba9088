"""The keys of a partition: a fixed handful under one hash tag, in the order the script has them."""

from typing import NamedTuple


class Keys(NamedTuple):
    stock: str
    reservations: str
    orders: str
    deadlines: str
    journal: str
    seen: str
    seen_before: str
    meta: str


def keys_of(partition: int) -> Keys:
    return Keys(*(f"{{{partition}}}{name}" for name in Keys._fields))
