"""A partition as its journal tells it: the entries folded, byte for byte what Redis keeps.

An entry tells everything that its command changed, so nothing is decided here: images are taken
over, deadlines and lists of locations follow from them.
"""

from bisect import insort
from typing import TypeVar

import msgspec

from atp_service.inventory.journal import (
    LEVEL,
    ORDER,
    RESERVATION,
    Entry,
    Image,
    decode_fields,
    decode_head,
    marks_of,
)
from atp_service.inventory.reservations import decode_order, decode_standing
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.inventory.stock import split_field

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class Folded:
    """What Redis keeps, key by key: raw values by name.

    `marks` are all dedupe marks with the time of their entry in ms: Redis has those of its window,
    in one of two hashes. `seq`, `digest` and `time` (ms) are the fields of `{p}meta`.
    """

    def __init__(self) -> None:
        self.levels: dict[str, bytes] = {}
        self.locations: dict[str, list[str]] = {}
        self.reservations: dict[str, bytes] = {}
        self.orders: dict[str, bytes] = {}
        self.deadlines: dict[str, int] = {}
        self.marks: dict[str, int] = {}
        self.seq = 0
        self.digest = ""
        self.time = 0

    @property
    def stock(self) -> dict[str, bytes]:
        """The hash of levels, and of each SKU's list of locations."""
        lists = {sku: _encode(known) for sku, known in self.locations.items()}
        return self.levels | lists

    def take(self, entry: Entry) -> None:
        """Fold one entry in; entries come in order. Raises msgspec's DecodeError."""
        head = decode_head(entry.head)
        for name, image in entry.images:
            self.take_image(name, image)
        for mark in marks_of(decode_fields(entry.command), head):
            self.marks[mark] = head.at_ms
        self.seq, self.digest, self.time = entry.seq, entry.digest, head.at_ms

    def take_image(self, name: str, image: Image) -> None:
        """Fold one image in. Raises msgspec's DecodeError."""
        kind, key = name[:1], name[1:]
        if kind == LEVEL:
            self._list(key, listed=image is not None)
            put(self.levels, key, image)
        elif kind == RESERVATION:
            put(self.reservations, key, image)
            due_at = reservation_due_at(decode_standing(image)) if image else None
            put(self.deadlines, RESERVATION + key, due_at)
        elif kind == ORDER:
            put(self.orders, key, image)
            due_at = order_due_at(decode_order(image)) if image else None
            put(self.deadlines, ORDER + key, due_at)

    def _list(self, name: str, *, listed: bool) -> None:
        sku, location = split_field(name)
        if listed and name not in self.levels:
            insort(self.locations.setdefault(sku, []), location)
        elif not listed and name in self.levels:
            self.locations[sku].remove(location)
            if not self.locations[sku]:
                del self.locations[sku]


def put(kept: dict[str, T], name: str, value: T | None) -> None:
    """The value under the name; None takes the name away."""
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value
