"""Journal entries as rows: what one transaction of the recorder appends and brings up to date.

A batch checks each entry against the one before it, hashes the chain, and keeps of every level,
reservation, order and exception only the last word: a projection is written once a batch, however
often it changed. Values are packed here as Postgres receives them, in the order of the tables'
columns.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Generic, TypeVar

import msgspec

from atp_service.inventory.commands import Park, Snapshot, decode_command
from atp_service.inventory.journal import (
    LEVEL,
    ORDER,
    RESERVATION,
    CommandFields,
    Entry,
    Head,
    Image,
    decode_fields,
    decode_head,
    encode_images,
)
from atp_service.inventory.notices import DRIFT
from atp_service.inventory.reservations import Reservation, Standing, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level
from atp_service.ledger import tables
from atp_service.ledger.position import Forked, Position
from atp_service.ledger.write.exceptions import DETAIL_CHARACTERS, Cases, detail_of, key_of_park
from atp_service.ledger.write.repair_words import of_repair
from atp_service.postgres.binary import (
    bigint,
    blob,
    boolean,
    integer,
    json,
    micros,
    pack_length,
    text,
    timestamp,
)

# Numbers, each with its length before it: what a row begins with.
_begin_entry = tables.ENTRIES.packer()
_begin_movement = tables.MOVEMENTS.packer()
_begin_event = tables.EVENTS.packer()
_begin_trace = tables.TRACES.packer()
_CHAIN = pack_length(32)

T = TypeVar("T")
Values = tuple[bytes, ...]

decode_park = msgspec.msgpack.Decoder(Park).decode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def entry_values(partition: int, entry: Entry, head: Head) -> bytes:
    """An entry's row without the chain, which hashes it."""
    kind = head.kind.encode()
    images = encode_images(entry.images)
    digest = entry.digest.encode()
    return b"".join(
        (
            _begin_entry(partition, entry.seq, head.epoch, micros(head.at_ms)),
            pack_length(len(kind)),
            kind,
            pack_length(len(entry.command)),
            entry.command,
            pack_length(len(entry.head)),
            entry.head,
            pack_length(len(images)),
            images,
            pack_length(len(digest)),
            digest,
        )
    )


def movement_row(
    partition: int,
    seq: int,
    head: Head,
    key: bytes,
    level: StockLevel,
    delta: int,
    occurred_at_ms: int,
) -> bytes:
    """What an entry did to a level; `key` is the level's name in Redis."""
    extras = level.extras
    numbers = _begin_movement(
        partition,
        seq,
        level.version,
        delta,
        level.on_hand,
        level.reserved,
        level.allocated,
        level.unavailable if extras.states else 0,
        micros(occurred_at_ms),
        micros(head.at_ms),
    )
    return numbers + bigint(extras.safety_stock) + _place(key) + _kind(head.kind)


@lru_cache(maxsize=65_536)
def _place(key: bytes) -> bytes:
    sku, _, location = key.partition(b"\x1f")
    return blob(sku) + blob(location)


@lru_cache
def _kind(kind: str) -> bytes:
    return blob(kind.encode())


def event_row(partition: int, seq: int, source: str, event_id: str, status: str) -> bytes:
    texts = (text(source), text(event_id), blob(status.encode()))
    return b"".join((_begin_event(partition, seq), *texts))


def trace_rows(partition: int, seq: int, fields: CommandFields, touched: set[str]) -> list[bytes]:
    """Whatever an entry speaks of: what its command names, and the reservations and orders it
    touched."""
    named = {fields.reservation_id, fields.order_id, fields.shipment_id}
    named |= {fields.document, fields.erp_document}
    refs = {text(ref) for ref in named | touched if ref}
    return [_begin_trace(partition, seq) + ref for ref in refs]


def level_values(
    partition: int, seq: int, key: bytes, level: StockLevel, image: bytes, folded: int
) -> Values:
    sku, _, location = key.partition(b"\x1f")
    return (
        integer(partition),
        bigint(seq),
        bigint(level.version),
        bigint(level.moves),
        bigint(level.on_hand),
        bigint(level.reserved),
        bigint(level.allocated),
        bigint(level.unavailable if level.extras.states else 0),
        timestamp(level.updated_at),
        bigint(level.extras.safety_stock),
        blob(sku),
        blob(location),
        json(level.extras),
        blob(image),
        bigint(folded),
    )


def reservation_values(
    partition: int,
    seq: int,
    reservation_id: str,
    reservation: Standing,
    image: bytes,
    *,
    in_redis: bool,
) -> Values:
    return (
        integer(partition),
        bigint(seq),
        timestamp(reservation.expires_at or None),
        timestamp(reservation.closed_at or None),
        text(reservation_id),
        _status(reservation.status),
        text(reservation.order_id),
        blob(image),
        boolean(in_redis),
    )


@lru_cache
def _status(status: str) -> bytes:
    return text(status)


def order_values(
    partition: int, seq: int, order_id: str, image: bytes, *, in_redis: bool
) -> Values:
    return (integer(partition), bigint(seq), text(order_id), blob(image), boolean(in_redis))


def parked_values(partition: int, seq: int, head: Head, park: Park) -> Values:
    """A parked message, and the exception that it belongs to."""
    kind, owner, _, _, reference = key_of_park(park)
    return (
        integer(partition),
        bigint(seq),
        text(park.source),
        text(park.event_id),
        text(detail_of(park)),
        blob(park.payload.encode()),
        timestamp(head.at_ms),
        text(kind),
        text(owner),
        text(reference),
    )


def snapshot_line_values(partition: int, seq: int, head: Head, line: Snapshot) -> Values:
    difference = head.noted[0].units if head.noted else 0
    policy: str = line.policy
    if head.status == "absorbed":
        policy = "outdated"
    elif abs(difference) <= line.tolerance:
        policy = "within"
    return (
        integer(partition),
        bigint(seq),
        bigint(line.quantity),
        bigint(difference),
        timestamp(line.occurred_at_ms),
        text(line.source),
        text(line.location),
        text(line.sku),
        text(policy),
    )


class _Touched(msgspec.Struct):
    """A level as the batch leaves it, and the sum of what moved its on_hand."""

    seq: int
    level: StockLevel
    image: bytes
    moved: int


class _Projected(msgspec.Struct, Generic[T]):
    """A reservation or order as the batch leaves it. Its last image stays when Redis lets go."""

    seq: int
    value: T
    image: bytes
    in_redis: bool


class Batch:
    """Entries that continue `after`, as rows; `position` is where the ledger stands with them."""

    def __init__(self, partition: int, after: Position) -> None:
        self.partition = partition
        self.after = after
        self.size = 0
        self.first_at_ms = 0
        self.entries: list[bytes] = []
        self.movements: list[bytes] = []
        self.events: list[bytes] = []
        self.traces: list[bytes] = []
        self.parked: list[Values] = []
        self.snapshot_lines: list[Values] = []
        self._seq = after.seq
        self._digest = after.digest
        self._chain = after.chain
        self._levels: dict[bytes, _Touched] = {}
        self._gone_levels: set[bytes] = set()
        self._reservations: dict[str, _Projected[Reservation]] = {}
        self._orders: dict[str, _Projected[None]] = {}
        self._gone_reservations: dict[str, int] = {}
        self._gone_orders: dict[str, int] = {}
        self._cases = Cases()

    @property
    def position(self) -> Position:
        return Position(self.after.epoch, self._seq, self._digest, self._chain, self.after.run_id)

    def add(self, entry: Entry) -> None:
        """Take one entry in; `Forked` if it does not continue the one before, or can't be read: a
        batch that has taken half of it in is of no more use."""
        try:
            head = decode_head(entry.head)
            self._check(entry, head)
            self._take(entry, head)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise Forked(f"entry {entry.seq} can't be read: {fault}") from fault

    def _take(self, entry: Entry, head: Head) -> None:
        seq = entry.seq
        values = entry_values(self.partition, entry, head)
        self._chain = sha256(self._chain + values).digest()
        self.entries.append(values + _CHAIN + self._chain)
        self._seq, self._digest = seq, entry.digest
        self.first_at_ms = self.first_at_ms or head.at_ms
        self.size += 1

        fields = decode_fields(entry.command)
        self._take_images(entry, head, fields)
        if fields.source is not None and fields.event_id is not None:
            self.events.append(
                event_row(self.partition, seq, fields.source, fields.event_id, head.event_status)
            )
        if head.kind == "park":
            self._park(seq, head, entry.command)
        elif head.kind == "snapshot":
            self._compare_snapshot(seq, head, entry.command)
        for notice in head.opened:
            detail = what_differed(entry) if notice.kind == DRIFT else ""
            self._cases.open(notice, detail, seq, head.at_ms)
        for notice in head.settled:
            self._cases.settle(notice, seq, head.at_ms)

    def _check(self, entry: Entry, head: Head) -> None:
        if entry.seq != self._seq + 1:
            raise Forked(f"entry {entry.seq} follows {self._seq}")
        if head.epoch != self.after.epoch:
            raise Forked(
                f"entry {entry.seq} is of epoch {head.epoch}, the ledger's is {self.after.epoch}"
            )
        if entry.digest_after(self._digest) != entry.digest:
            raise Forked(f"the digest of entry {entry.seq} does not continue the ledger's")

    def _take_images(self, entry: Entry, head: Head, fields: CommandFields) -> None:
        seq = entry.seq
        deltas = iter(head.on_hand_deltas)
        refs = set[str]()
        for name, image in entry.images:
            kind, key = name[:1], name[1:]
            if kind == LEVEL:
                self._take_level(seq, head, fields, key, image, next(deltas, 0))
            elif kind == RESERVATION:
                refs.add(key)
                if image is None:
                    let_go(self._reservations, self._gone_reservations, key, seq)
                else:
                    reservation = decode_reservation(image)
                    self._reservations[key] = _Projected(seq, reservation, image, in_redis=True)
                    self._gone_reservations.pop(key, None)
                    refs.add(reservation.order_id)
            elif kind == ORDER:
                refs.add(key)
                if image is None:
                    let_go(self._orders, self._gone_orders, key, seq)
                else:
                    self._orders[key] = _Projected(seq, None, image, in_redis=True)
                    self._gone_orders.pop(key, None)
            else:
                raise Forked(f"entry {seq} has an image of {name!r}")
        self.traces += trace_rows(self.partition, seq, fields, refs)

    def _take_level(
        self, seq: int, head: Head, fields: CommandFields, key: str, image: Image, delta: int
    ) -> None:
        name = key.encode()
        if image is None:
            self._levels.pop(name, None)
            self._gone_levels.add(name)
            return
        self._move(seq, head, fields, name, decode_level(image), image, delta)

    def _move(
        self,
        seq: int,
        head: Head,
        fields: CommandFields,
        name: bytes,
        level: StockLevel,
        image: bytes,
        delta: int,
    ) -> None:
        occurred_at_ms = fields.occurred_at_ms or head.at_ms
        self.movements.append(
            movement_row(self.partition, seq, head, name, level, delta, occurred_at_ms)
        )
        before = self._levels.get(name)
        moved = delta if before is None else before.moved + delta
        self._levels[name] = _Touched(seq, level, image, moved)

    def _park(self, seq: int, head: Head, command: bytes) -> None:
        park = decode_park(command)
        self._cases.park(park, seq, head.at_ms)
        self.parked.append(parked_values(self.partition, seq, head, park))

    def _compare_snapshot(self, seq: int, head: Head, command: bytes) -> None:
        line = decode_snapshot(command)
        self.snapshot_lines.append(snapshot_line_values(self.partition, seq, head, line))

    # The projections' rows, each key once; as values, since they are sent by the column.

    def levels(self) -> list[Values]:
        return [
            level_values(
                self.partition, touched.seq, name, touched.level, touched.image, touched.moved
            )
            for name, touched in self._levels.items()
        ]

    def gone_levels(self) -> list[Values]:
        return [tuple(blob(part) for part in name.split(b"\x1f")) for name in self._gone_levels]

    def reservations(self) -> list[Values]:
        return [
            reservation_values(
                self.partition, row.seq, key, row.value, row.image, in_redis=row.in_redis
            )
            for key, row in self._reservations.items()
        ]

    def orders(self) -> list[Values]:
        return [
            order_values(self.partition, row.seq, key, row.image, in_redis=row.in_redis)
            for key, row in self._orders.items()
        ]

    def gone_reservations(self) -> list[Values]:
        return [(bigint(seq), text(key)) for key, seq in self._gone_reservations.items()]

    def gone_orders(self) -> list[Values]:
        return [(bigint(seq), text(key)) for key, seq in self._gone_orders.items()]

    def exceptions(self) -> list[Values]:
        partition = integer(self.partition)
        return [(partition, *values) for values in self._cases.rows()]


def let_go(rows: dict[str, _Projected[T]], gone: dict[str, int], key: str, seq: int) -> None:
    """Redis no longer has it: said of the batch's own row, else of the ledger's."""
    if key in rows:
        rows[key] = msgspec.structs.replace(rows[key], seq=seq, in_redis=False)
    else:
        gone[key] = seq


def what_differed(entry: Entry) -> str:
    """What a repair set right, in words, as far as they are kept."""
    try:
        command = decode_command(entry.command)
    except msgspec.DecodeError:
        return ""  # of another version: what it did stands in its images
    return of_repair(command)[:DETAIL_CHARACTERS]
