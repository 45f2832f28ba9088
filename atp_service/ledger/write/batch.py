"""Journal entries as rows: what one transaction of the recorder appends and brings up to date.

A batch checks each entry against the one before it, hashes the chain, and keeps of every level,
reservation, order and exception only the last word: a projection is written once a batch, however
often it changed.
"""

from hashlib import sha256

from msgspec import Struct

from atp_service.inventory.journal import (
    LEVEL,
    ORDER,
    RESERVATION,
    RULES,
    DecodedEntry,
    Entry,
    decode_entry,
)
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel, split_field
from atp_service.ledger.position import Forked, Position, Refused
from atp_service.ledger.write import rows
from atp_service.ledger.write.exceptions import Cases, exception_steps
from atp_service.ledger.write.rows import Values
from atp_service.postgres.binary import bigint, blob, integer, text


class _Level(Struct):
    """A level as the batch leaves it, and the sum of what moved its on_hand."""

    seq: int
    level: StockLevel
    image: bytes
    moved: int


class _Document(Struct):
    """A reservation or order as the batch leaves it. Its last image stays when Redis lets go."""

    seq: int
    reservation: Reservation | None
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
        self.parked: list[bytes] = []
        self.snapshot_lines: list[bytes] = []
        self._seq = after.seq
        self._digest = after.digest
        self._chain = after.chain
        self._levels: dict[str, _Level] = {}
        self._gone_levels: set[str] = set()
        # By kind: documents as the batch leaves them, and those of before it that Redis let go of,
        # each with the seq of the entry that did.
        self._documents: dict[str, dict[str, _Document]] = {RESERVATION: {}, ORDER: {}}
        self._gone: dict[str, dict[str, int]] = {RESERVATION: {}, ORDER: {}}
        self._cases = Cases()

    @property
    def position(self) -> Position:
        return Position(self.after.epoch, self._seq, self._digest, self._chain, self.after.run_id)

    def add(self, entry: Entry) -> None:
        """Take one entry in. Raises Forked if it does not continue the one before, or can't be
        read: a batch that has taken half of it in is of no more use."""
        try:
            decoded = decode_entry(entry, None)
            self._check(decoded)
            self._take(decoded)
        except ValueError as fault:
            raise Forked(f"entry {entry.seq} can't be read: {fault}") from fault

    def _take(self, decoded: DecodedEntry) -> None:
        partition, entry, head = self.partition, decoded.entry, decoded.head
        values = rows.entry_values(partition, entry, head)
        self._chain = sha256(self._chain + values).digest()
        self.entries.append(values + blob(self._chain))
        self._seq, self._digest = entry.seq, entry.digest
        self.first_at_ms = self.first_at_ms or head.at_ms
        self.size += 1
        self.movements += rows.movements(partition, decoded)
        self.events += rows.events(partition, decoded)
        self.traces += rows.traces(partition, decoded)
        self.parked += rows.parked(partition, decoded)
        self.snapshot_lines += rows.snapshot_lines(partition, decoded)
        self._take_images(decoded)
        for step in exception_steps(decoded):
            self._cases.add(step)

    def _check(self, decoded: DecodedEntry) -> None:
        entry, epoch = decoded.entry, decoded.head.epoch
        if decoded.head.rules > RULES:
            raise Refused(
                f"entry {entry.seq} was decided by rules {decoded.head.rules}: start the release"
                " that knows them"
            )
        if entry.seq != self._seq + 1:
            raise Forked(f"entry {entry.seq} follows {self._seq}")
        if epoch != self.after.epoch:
            raise Forked(
                f"entry {entry.seq} is of epoch {epoch}, the ledger's is {self.after.epoch}"
            )
        if entry.digest_after(self._digest) != entry.digest:
            raise Forked(f"the digest of entry {entry.seq} does not continue the ledger's")

    def _take_images(self, decoded: DecodedEntry) -> None:
        seq = decoded.entry.seq
        deltas = iter(decoded.head.on_hand_deltas)
        for name, image in decoded.entry.images:
            kind, key = name[0], name[1:]
            if image is None:
                self._let_go(kind, key, seq)
            elif kind == LEVEL:
                before = self._levels.get(key)
                moved = next(deltas, 0) + (before.moved if before else 0)
                self._levels[key] = _Level(seq, decoded.levels[key], image, moved)
            else:
                reservation = decoded.reservations[key] if kind == RESERVATION else None
                self._documents[kind][key] = _Document(seq, reservation, image, in_redis=True)
                self._gone[kind].pop(key, None)

    def _let_go(self, kind: str, key: str, seq: int) -> None:
        """Redis no longer has it."""
        if kind == LEVEL:
            self._levels.pop(key, None)
            self._gone_levels.add(key)
        elif key in self._documents[kind]:
            document = self._documents[kind][key]
            document.seq, document.in_redis = seq, False
        else:
            self._gone[kind][key] = seq

    # The projections' rows, each key once; as values, since they are sent by the column.

    def levels(self) -> list[Values]:
        return [
            rows.level_values(self.partition, row.seq, key, row.level, row.image, row.moved)
            for key, row in self._levels.items()
        ]

    def gone_levels(self) -> list[Values]:
        """Levels that went, though they may have come back since."""
        partition = integer(self.partition)
        return [(partition, *map(text, split_field(key))) for key in self._gone_levels]

    def reservations(self) -> list[Values]:
        return [
            rows.reservation_values(
                self.partition, row.seq, key, row.reservation, row.image, in_redis=row.in_redis
            )
            for key, row in self._documents[RESERVATION].items()
            if row.reservation is not None
        ]

    def orders(self) -> list[Values]:
        return [
            rows.order_values(self.partition, row.seq, key, row.image, in_redis=row.in_redis)
            for key, row in self._documents[ORDER].items()
        ]

    def gone_reservations(self) -> list[Values]:
        return self._gone_of(RESERVATION)

    def gone_orders(self) -> list[Values]:
        return self._gone_of(ORDER)

    def _gone_of(self, kind: str) -> list[Values]:
        partition = integer(self.partition)
        return [(partition, bigint(seq), text(key)) for key, seq in self._gone[kind].items()]

    def exceptions(self) -> list[Values]:
        partition = integer(self.partition)
        return [(partition, *values) for values in self._cases.rows()]
