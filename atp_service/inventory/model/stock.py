"""What a batch reads, changes and writes. Mirrors `lua/stock.lua`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from atp_service.inventory.commands import AnyCommand, Fact
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.journal import FactStatus, Notice, event_mark
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.inventory.stock import SEPARATOR, Extras, StockLevel, level_field, split_field

T = TypeVar("T")

LARGEST = 2**53 - 1
EARLY_KEPT = 100
WORK_A_CALL = 2000
SETTLED_DOCUMENTS_KEPT = 16


class ModelEntry(Struct):
    """A journal entry with its images decoded; None: gone."""

    seq: int
    at_ms: int
    kind: str
    command: AnyCommand
    on_hand_deltas: list[int]
    opened: list[Notice]
    settled: list[Notice]
    noted: list[Notice]
    status: FactStatus
    marks: list[str]
    levels: dict[str, StockLevel | None]
    reservations: dict[str, Reservation | None]
    orders: dict[str, Order | None]


@dataclass
class Partition:
    """All of a partition's state; what Redis keeps under one hash tag.

    `damaged` names values that can't be read: as an entry's images are named, and `i<sku>` for a
    SKU's list of locations.
    """

    number: int
    epoch: int = 1
    window_ms: int = 86_400_000
    seq: int = 0
    time: int = 0
    rotated_at: int = 0
    levels: dict[str, StockLevel] = field(default_factory=dict)
    locations: dict[str, list[str]] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    deadlines: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    seen_before: set[str] = field(default_factory=set)
    feeds: dict[str, tuple[int, int]] = field(default_factory=dict)
    journal: list[ModelEntry] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)


class Refuse(Exception):
    """The command can't be applied at all; nothing of it is kept."""


class Batch:
    """One batch on a partition: what its commands see, and what the one in hand has staged.

    Nothing is written to the partition before `write`: a batch that is dropped never was.
    """

    def __init__(self, partition: Partition, now: int, promises_refused: bool) -> None:
        self.partition = partition
        self.now = now
        self.promises_refused = promises_refused
        self.rotates = now - partition.rotated_at >= partition.window_ms
        self.seq = partition.seq
        self.due: list[str] | None = None
        self.due_place = 0
        self.reaped_for_promises = 0
        self.work = 0
        self.new_levels: dict[str, StockLevel | None] = {}
        self.new_reservations: dict[str, Reservation | None] = {}
        self.new_orders: dict[str, Order | None] = {}
        self.new_locations: dict[str, list[str]] = {}
        self.new_deadlines: dict[str, int | None] = {}
        self.new_seen: set[str] = set()
        self.new_feeds: dict[str, int] = {}
        self.new_entries: list[ModelEntry] = []
        self.repaired: set[str] = set()  # of what was damaged
        self.begin()

    def begin(self) -> None:
        """Drop what the command in hand has staged."""
        self.levels: dict[str, StockLevel | None] = {}
        self.was: dict[str, int] = {}
        self.reservations: dict[str, Reservation | None] = {}
        self.orders: dict[str, Order | None] = {}
        self.seen: list[str] = []
        self.opened: list[Notice] = []
        self.settled: list[Notice] = []
        self.noted: list[Notice] = []

    def entry(self, seq: int | None = None) -> EntryRef:
        """The place of an entry; by default of the latest."""
        return EntryRef(
            self.partition.number, self.partition.epoch, self.seq if seq is None else seq
        )

    def keep(self, entry: ModelEntry) -> None:
        """What was staged is what the next command of the batch sees."""
        self.seq = entry.seq
        self.new_entries.append(entry)
        for name, level in self.levels.items():
            if level and level.version == 1:
                index_level(self, name)
        self.new_levels.update(self.levels)
        self.new_reservations.update(self.reservations)
        self.new_orders.update(self.orders)
        for name, reservation in self.reservations.items():
            due_at = reservation_due_at(reservation) if reservation else None
            self.new_deadlines[f"r{name}"] = due_at
        for name, order in self.orders.items():
            self.new_deadlines[f"o{name}"] = order_due_at(order) if order else None
        if isinstance(entry.command, Fact):
            self.new_seen.add(event_key(entry.command))
        self.new_seen.update(self.seen)

    def write(self) -> None:
        """The partition is as the batch leaves it."""
        partition = self.partition
        if self.rotates:
            partition.seen_before, partition.seen = partition.seen, set()
            partition.rotated_at = self.now
        merge(partition.levels, self.new_levels)
        merge(partition.reservations, self.new_reservations)
        merge(partition.orders, self.new_orders)
        merge(
            partition.locations, {sku: known or None for sku, known in self.new_locations.items()}
        )
        merge(partition.deadlines, self.new_deadlines)
        partition.damaged -= self.repaired
        partition.seen |= self.new_seen
        for feed, occurred_at in self.new_feeds.items():
            before, _ = partition.feeds.get(feed, (0, 0))
            partition.feeds[feed] = max(before, occurred_at), self.now
        partition.journal += self.new_entries
        if self.seq > partition.seq:
            partition.seq, partition.time = self.seq, self.now


def merge(kept: dict[str, T], new: Mapping[str, T | None]) -> None:
    """`new` over `kept`; None takes a name away."""
    for name, value in new.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = value


# What an entry has kept is never changed again: who wants to change it takes a copy, and these
# copy what can change and share the rest.


def copy_level(level: StockLevel) -> StockLevel:
    return replace(level, extras=copy_extras(level.extras))


def copy_extras(extras: Extras) -> Extras:
    documents = extras.documents
    return replace(
        extras,
        states=dict(extras.states),
        documents={name: replace(documents[name]) for name in documents} if documents else {},
    )


def copy_reservation(reservation: Reservation) -> Reservation:
    return replace(reservation, lines=[replace(line) for line in reservation.lines])


def copy_order(order: Order) -> Order:
    return Order(list(order.reservations), list(order.early), order.kept_until)


def check(b: Batch, what: str, name: str) -> None:
    """What is read must have the shape in which it was packed, or the command fails."""
    damaged = b.partition.damaged
    if damaged and what + name in damaged - b.repaired:
        raise Refuse(f"damaged: {what}{name}")


def level_of(b: Batch, name: str) -> StockLevel | None:
    """The level as the command in hand sees it, or None where there is none."""
    check(b, "l", name)
    if name in b.levels:
        return b.levels[name]
    return b.new_levels[name] if name in b.new_levels else b.partition.levels.get(name)


def put_level(b: Batch, name: str, level: StockLevel | None) -> None:
    """The command in hand leaves the level so; None takes it away."""
    b.levels[name], b.was[name] = level, level.on_hand if level else 0


def touch_level(b: Batch, name: str) -> StockLevel:
    """The level, to be changed: a copy until the command is known to succeed."""
    level = b.levels.get(name)
    if level is None:
        known = level_of(b, name)
        level = copy_level(known) if known else StockLevel()
        put_level(b, name, level)
    return level


def available(b: Batch, name: str, of_channel: int) -> int:
    """Units of a level that may be promised; its own safety stock wins over the channel's."""
    level = level_of(b, name) or StockLevel()
    return max(0, level.atf - level.safety_stock(of_channel))


def move_on_hand(b: Batch, level: StockLevel, units: int, occurred_at: int | None = None) -> bool:
    """on_hand changes, unless a count taken later has seen these units already. Nothing happened
    later than it was reported; what has no time of its own happens now, after all that came before.
    """
    counted_at = level.extras.counted_at
    if counted_at is not None and occurred_at is not None and min(occurred_at, b.now) <= counted_at:
        return False
    level.on_hand += units
    level.moves += 1
    return True


def change_state(b: Batch, level: StockLevel, name: str, state: str, units: int) -> None:
    """Units enter (or leave, below 0) an unavailable state."""
    before = level.extras.states.get(state, 0)
    after = before + units
    if after:
        level.extras.states[state] = after
    else:
        level.extras.states.pop(state, None)
    notice = Notice("negative-state", *split_field(name), state, after)
    if before >= 0 > after:
        b.opened.append(notice)
    elif before < 0 <= after:
        b.settled.append(notice)


def reservation_of(b: Batch, reservation_id: str) -> Reservation | None:
    check(b, "r", reservation_id)
    if reservation_id in b.reservations:
        return b.reservations[reservation_id]
    if reservation_id in b.new_reservations:
        return b.new_reservations[reservation_id]
    return b.partition.reservations.get(reservation_id)


def put_reservation(b: Batch, reservation_id: str, reservation: Reservation | None) -> None:
    """The command in hand leaves the reservation so; None takes it away."""
    b.reservations[reservation_id] = reservation


def touch_reservation(b: Batch, reservation_id: str) -> Reservation:
    reservation = b.reservations.get(reservation_id)
    if reservation is None:
        known = reservation_of(b, reservation_id)
        assert known is not None  # noqa: S101  # its handler has looked
        reservation = copy_reservation(known)
        put_reservation(b, reservation_id, reservation)
    return reservation


def order_of(b: Batch, order_id: str) -> Order | None:
    check(b, "o", order_id)
    if order_id in b.orders:
        return b.orders[order_id]
    return b.new_orders[order_id] if order_id in b.new_orders else b.partition.orders.get(order_id)


def put_order(b: Batch, order_id: str, order: Order | None) -> None:
    """The command in hand leaves the order so; None takes it away."""
    b.orders[order_id] = order


def touch_order(b: Batch, order_id: str) -> Order:
    order = b.orders.get(order_id)
    if order is None:
        known = order_of(b, order_id)
        order = copy_order(known) if known else Order([], [])
        put_order(b, order_id, order)
    return order


def is_seen(b: Batch, key: str) -> bool:
    if key in b.new_seen or key in b.partition.seen:
        return True
    return not b.rotates and key in b.partition.seen_before


def mark_seen(b: Batch, key: str) -> None:
    """What the command does not imply: an event's own mark follows from its source and id."""
    b.seen.append(key)


def event_key(command: Fact) -> str:
    return event_mark(command.source, command.event_id)


def shipment_key(shipment_id: str, sku: str, location: str, holder: str) -> str:
    """`holder` is the reservation or order that the units are for: a truck carries many orders."""
    return SEPARATOR.join((f"s{shipment_id}", sku, location, holder))


def caller_key(command: AnyCommand, reservation: Reservation | None = None) -> str | None:
    """Under what a caller's own idempotency key is remembered; None where it gave none.

    `reservation` is the one that the command is about, if any: an id used again begins anew.
    """
    key = getattr(command, "key", None)
    if key is None:
        return None
    if reservation is not None:
        subject = f"{command.reservation_id}{SEPARATOR}{reservation.created_at}"  # type: ignore[union-attr]
    else:
        subject = level_field(command.sku, command.location)  # type: ignore[union-attr, arg-type]
    return f"k{command.__struct_config__.tag}{SEPARATOR}{subject}{SEPARATOR}{key}"


def hear(b: Batch, command: Fact) -> None:
    """A feed has been heard of."""
    occurred_at = min(command.occurred_at_ms, b.now)
    b.new_feeds[command.source] = max(b.new_feeds.get(command.source, 0), occurred_at)


def locations_of(b: Batch, sku: str) -> list[str]:
    check(b, "i", sku)
    return b.new_locations[sku] if sku in b.new_locations else b.partition.locations.get(sku, [])


def index_level(b: Batch, name: str) -> None:
    """A new level joins its SKU's list of locations, which is in order. The location may stand
    there: a level that was deleted by hand leaves its place.
    """
    sku, location = split_field(name)
    known = locations_of(b, sku)
    if location not in known:
        place = next((i for i, other in enumerate(known) if other > location), len(known))
        b.new_locations[sku] = [*known[:place], location, *known[place:]]


def note_sign(b: Batch, name: str, was: int, on_hand: int) -> None:
    """on_hand falls below 0, or is there again."""
    if (was < 0) != (on_hand < 0):
        notices = b.opened if on_hand < 0 else b.settled
        notices.append(Notice("negative-stock", *split_field(name), "", on_hand))


def append_entry(b: Batch, command: AnyCommand, status: FactStatus = "") -> None:
    """The one place where stock changes: the entry that explains it, and all it has touched.

    `status` is "absorbed" if a fact has changed no stock.
    """
    at = b.seq + 1
    deltas = []
    for name, level in b.levels.items():
        if level is None:
            deltas.append(0)
            continue
        if abs(level.on_hand) > LARGEST:
            raise Refuse("on_hand out of range")
        level.version, level.updated_at = level.version + 1, b.now
        deltas.append(level.on_hand - b.was[name])
        note_sign(b, name, b.was[name], level.on_hand)
        if level.version == 1:
            check(b, "i", split_field(name)[0])
    for reservation in b.reservations.values():
        if reservation:
            reservation.seq = at
            b.work += len(reservation.lines)
    if not any(deltas):
        deltas = []
    b.work += len(b.levels)
    kind = str(command.__struct_config__.tag)
    entry = ModelEntry(
        seq=at,
        at_ms=b.now,
        kind=kind,
        command=command,
        on_hand_deltas=deltas,
        opened=b.opened,
        settled=b.settled,
        noted=b.noted,
        status=status,
        marks=b.seen,
        levels=b.levels,
        reservations=b.reservations,
        orders=b.orders,
    )
    b.keep(entry)
    b.begin()
