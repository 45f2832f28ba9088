"""The run as the ledger has it: its entries, folded by us from the first to the last.

Nothing here is taken from a number the service worked out: levels and reservations are followed
image by image, and each step must keep all units.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct, field

from atp_service.inventory.journal import Head, decode_head
from atp_service.inventory.reservations import Line, Reservation, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level, split_field
from atp_service.ledger.write.event_status import Told, decode_told
from atp_service.rehearse.run_names import Goods

Place = tuple[str, str]  # SKU, location
_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Row(Struct, frozen=True, array_like=True):
    """An entry, of its row in the ledger."""

    seq: int
    command: bytes
    head: bytes
    images: bytes


class Account(Struct):
    """One level: how it stands, and the most that was ever promised beyond what was there.

    `left` says what could still be sold, after each entry: (Unix milliseconds, units).
    """

    level: StockLevel = field(default_factory=StockLevel)
    beyond: int = 0
    left: list[tuple[int, int]] = []


class Promise(Struct):
    """One reservation: the units by SKU of its first hold, how it stands, and how often each kind
    of command changed it."""

    first: dict[str, int]
    now: Reservation
    image: bytes
    effects: Counter[str]


class Books(Struct, kw_only=True):
    """The run's entries, added up; `faults` says in words what did not add up, with the units."""

    entries: int = 0
    accounts: dict[Place, Account] = {}
    promises: dict[str, Promise] = {}
    events: Counter[Place] = field(default_factory=Counter)  # by source and id
    faults: list[tuple[str, int]] = []


def fold(rows: Iterable[Row], goods: Goods) -> Books:
    """The books of one run; entries of others are passed over."""
    books = Books()
    for row in rows:
        images = [image for image in _decode_images(row.images) if _is_ours(image[0], goods.run)]
        told = decode_told(row.command)
        ours = told.source in (goods.till, goods.warehouse)
        if images or ours:
            books.entries += 1
            _take(books, row, decode_head(row.head), told, ours)
    return books


def units_of(reservation: Reservation) -> Counter[str]:
    """By SKU, all it has: held, promised for an order, or sent."""
    units: Counter[str] = Counter()
    for line in reservation.lines:
        units[line.sku] += line.open + line.fulfilled
    return units


def _is_ours(name: str, run: str) -> bool:
    # `r<run>-…` or `l<run>-…`; the run's own names hold no other run's as their beginning.
    return name.startswith(f"{run}-", 1)


def _take(books: Books, row: Row, head: Head, told: Told, ours: bool) -> None:
    if ours and head.kind != "park" and told.source and told.event_id:
        books.events[told.source, told.event_id] += 1
    reserved: Counter[Place] = Counter()
    allocated: Counter[Place] = Counter()
    steps: list[tuple[Place, StockLevel, StockLevel]] = []
    deltas = iter(head.on_hand_deltas)
    for name, image in _decode_images(row.images):
        what, key = name[0], name[1:]
        if what == "l":
            delta = next(deltas, 0)
            place = split_field(key)
            account = books.accounts.setdefault(place, Account())
            after = decode_level(image)
            steps.append((place, account.level, after))
            _step(books, row.seq, place, account, after, delta)
            account.left.append((head.at_ms, after.atf))
        elif what == "r":
            before = books.promises.get(key)
            after_promise = decode_reservation(image)
            _add(reserved, allocated, after_promise.lines, 1)
            if before is None:
                first = units_of(after_promise)
                books.promises[key] = Promise(first, after_promise, image, Counter())
            else:
                _add(reserved, allocated, before.now.lines, -1)
                before.now, before.image = after_promise, image
            if told.reservation_id == key:
                books.promises[key].effects[head.kind] += 1
    for place, was, now in steps:
        _compare(books, row.seq, place, "reserved", now.reserved - was.reserved, reserved[place])
        _compare(
            books, row.seq, place, "allocated", now.allocated - was.allocated, allocated[place]
        )


def _step(
    books: Books, seq: int, place: Place, account: Account, after: StockLevel, delta: int
) -> None:
    before = account.level
    _compare(books, seq, place, "on_hand", after.on_hand - before.on_hand, delta)
    if missing := after.version - before.version - 1:
        books.faults.append((f"entry {seq}: {place[0]} skips {missing} versions", abs(missing)))
    account.level = after
    account.beyond = max(account.beyond, -after.atf)


def _compare(books: Books, seq: int, place: Place, what: str, moved: int, expected: int) -> None:
    if moved != expected:
        books.faults.append(
            (
                f"entry {seq}: {what} of {place[0]} at {place[1]} moved by {moved}, not {expected}",
                abs(moved - expected),
            )
        )


def _add(
    reserved: Counter[Place], allocated: Counter[Place], lines: Iterable[Line], sign: int
) -> None:
    for line in lines:
        reserved[line.sku, line.location] += sign * line.reserved
        allocated[line.sku, line.location] += sign * line.allocated
