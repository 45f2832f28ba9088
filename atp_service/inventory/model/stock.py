"""What a batch reads, changes and writes. Mirrors `lua/stock.lua`."""

from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from atp_service.inventory.commands import AnyCommand, Fact
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.journal import Notice
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.stock import (
    SEPARATOR,
    Extras,
    StockLevel,
    level_field,
    split_field,
)

LARGEST = 2**53 - 1
EARLY_KEPT = 100
WORK_A_CALL = 2000
SETTLED_DOCUMENTS_KEPT = 16


class ModelEntry(Struct):
    """A journal entry with its images decoded."""

    seq: int
    at_ms: int
    kind: str
    command: AnyCommand
    on_hand_deltas: list[int]
    opened: list[Notice]
    settled: list[Notice]
    noted: list[Notice]
    levels: dict[str, StockLevel]
    reservations: dict[str, Reservation]
    orders: dict[str, Order]


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
    """One batch on a partition: what its commands see, and what the one in hand has staged."""

    def __init__(self, partition: Partition, now: int, promises_refused: bool) -> None:
        self.partition = partition
        self.now = now
        self.promises_refused = promises_refused
        self.due: list[str] | None = None
        self.due_place = 0
        self.reaped_for_promises = 0
        self.work = 0
        self.new_deadlines: dict[str, int | None] = {}
        self.begin()

    def begin(self) -> None:
        """Forget what the command in hand has staged."""
        self.levels: dict[str, StockLevel] = {}
        self.was: dict[str, int] = {}
        self.reservations: dict[str, Reservation] = {}
        self.orders: dict[str, Order] = {}
        self.deadlines: dict[str, int | None] = {}
        self.seen: list[str] = []
        self.opened: list[Notice] = []
        self.settled: list[Notice] = []
        self.noted: list[Notice] = []

    def entry(self, seq: int) -> EntryRef:
        return EntryRef(self.partition.number, self.partition.epoch, seq)

    def keep(self, entry: ModelEntry) -> None:
        """What was staged is what the next command of the batch sees."""
        partition = self.partition
        partition.seq = entry.seq
        partition.journal.append(entry)
        for name, level in self.levels.items():
            if level.version == 1:
                index_level(self, name)
            partition.levels[name] = level
        partition.reservations.update(self.reservations)
        partition.orders.update(self.orders)
        self.new_deadlines.update(self.deadlines)
        partition.seen.update(self.seen)


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
    return Order(list(order.reservations), list(order.early))


def check(b: Batch, what: str, name: str) -> None:
    """What is read must have the shape in which it was packed, or the command fails."""
    damaged = b.partition.damaged
    if damaged and what + name in damaged:
        raise Refuse(f"damaged: {what}{name}")


def level_of(b: Batch, name: str) -> StockLevel | None:
    """The level as the command in hand sees it, or None where there is none."""
    check(b, "l", name)
    return b.levels.get(name) or b.partition.levels.get(name)


def touch_level(b: Batch, name: str) -> StockLevel:
    """The level, to be changed: a copy until the command is known to succeed."""
    if name not in b.levels:
        known = level_of(b, name)
        b.levels[name] = copy_level(known) if known else StockLevel()
        b.was[name] = b.levels[name].on_hand
    return b.levels[name]


def available(b: Batch, name: str, of_channel: int) -> int:
    """Units of a level that may be promised; its own safety stock wins over the channel's."""
    level = level_of(b, name) or StockLevel()
    return max(0, level.atf - level.safety_stock(of_channel))


def move_on_hand(b: Batch, level: StockLevel, units: int, occurred_at: int | None = None) -> bool:
    """on_hand changes, unless a count taken later has seen these units already. Nothing happened
    later than it was told; what has no time of its own happens now, after all that came before it.
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
    return b.reservations.get(reservation_id) or b.partition.reservations.get(reservation_id)


def put_reservation(b: Batch, reservation_id: str, reservation: Reservation) -> Reservation:
    b.reservations[reservation_id] = reservation
    return reservation


def touch_reservation(b: Batch, reservation_id: str) -> Reservation:
    if reservation_id not in b.reservations:
        known = b.partition.reservations[reservation_id]
        b.reservations[reservation_id] = copy_reservation(known)
    return b.reservations[reservation_id]


def order_of(b: Batch, order_id: str) -> Order | None:
    check(b, "o", order_id)
    return b.orders.get(order_id) or b.partition.orders.get(order_id)


def touch_order(b: Batch, order_id: str) -> Order:
    if order_id not in b.orders:
        known = order_of(b, order_id)
        b.orders[order_id] = copy_order(known) if known else Order([], [])
    return b.orders[order_id]


def set_deadline(b: Batch, member: str, at: int | None) -> None:
    """When a reservation or order is next to be looked at; None takes the deadline away."""
    b.deadlines[member] = at


def is_seen(b: Batch, key: str) -> bool:
    return key in b.partition.seen or key in b.partition.seen_before


def mark_seen(b: Batch, key: str) -> None:
    b.seen.append(key)


def event_key(command: Fact) -> str:
    return f"e{command.source}{SEPARATOR}{command.event_id}"


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
    before, _ = b.partition.feeds.get(command.source, (0, 0))
    b.partition.feeds[command.source] = (max(before, min(command.occurred_at_ms, b.now)), b.now)


def locations_of(b: Batch, sku: str) -> list[str]:
    check(b, "i", sku)
    return b.partition.locations.get(sku, [])


def index_level(b: Batch, name: str) -> None:
    """A new level joins its SKU's list of locations. It may stand there: who deletes a level by
    hand leaves its place.
    """
    sku, location = split_field(name)
    known = locations_of(b, sku)
    if location not in known:
        b.partition.locations[sku] = [*known, location]


def note_sign(b: Batch, name: str, was: int, on_hand: int) -> None:
    """on_hand falls below 0, or is there again."""
    if (was < 0) != (on_hand < 0):
        notices = b.opened if on_hand < 0 else b.settled
        notices.append(Notice("negative-stock", *split_field(name), "", on_hand))


def append_entry(b: Batch, command: AnyCommand) -> None:
    """The one place where stock changes: the entry that explains it, and all it has touched."""
    at = b.partition.seq + 1
    deltas = []
    for name, level in b.levels.items():
        if abs(level.on_hand) > LARGEST:
            raise Refuse("on_hand out of range")
        level.version, level.updated_at = level.version + 1, b.now
        deltas.append(level.on_hand - b.was[name])
        note_sign(b, name, b.was[name], level.on_hand)
        if level.version == 1:
            check(b, "i", split_field(name)[0])
    for reservation in b.reservations.values():
        reservation.seq = at
    if not any(deltas):
        deltas = []
    b.work += len(b.levels) + sum(len(r.lines) for r in b.reservations.values())
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
        levels=b.levels,
        reservations=b.reservations,
        orders=b.orders,
    )
    b.keep(entry)
    b.begin()
