"""Entry after entry: nothing missing, nothing changed, time and epoch never going back."""

from hashlib import sha256

from atp_service.ledger.binary import micros
from atp_service.ledger.chain import Row
from atp_service.ledger.position import GENESIS, Position
from atp_service.verify.reading import Reading


class Links:
    """What the next entry has to continue. A fault is told once: what follows goes on from it."""

    def __init__(self, before: Row | None = None) -> None:
        self.seq = before.seq if before else 0
        self.epoch = before.epoch if before else 0
        self.at = before.at if before else None
        self.chain = before.chain if before else GENESIS
        self.digest = before.digest if before else b""
        # Where the entry before did not hold: what it would have been, had it held.
        self._other_chain: bytes | None = None
        self._other_digest: str | None = None

    def gap(self, row: Row) -> str | None:
        """What is missing before the entry."""
        missing = row.seq - self.seq - 1
        if not missing:
            return None
        if missing < 0:
            return f"entry {row.seq} comes after entry {self.seq}"
        first = self.seq + 1
        return (
            f"entry {first} is missing"
            if missing == 1
            else f"entries {first}–{row.seq - 1} are missing"
        )

    def follow(self, row: Row, reading: Reading | None) -> list[str]:
        """In what the entry does not continue the one before; nothing if it does."""
        wrong = []
        chain = sha256(self.chain + row.hashed).digest()
        other_chain = None
        if chain != row.chain and not self._holds_otherwise(row):
            wrong.append("its row is not the one that was chained")
            other_chain = chain
        other_digest = None
        if reading is not None:
            digest = reading.entry.digest_after(self.digest.decode())
            if digest != reading.entry.digest and not self._digest_holds_otherwise(reading):
                wrong.append("its digest does not follow")
                other_digest = digest
            head = reading.head
            if not (
                head.epoch == row.epoch
                and micros(head.at_ms) == row.at
                and head.kind.encode() == row.kind
            ):
                wrong.append("its columns are not what its head says")
        if row.epoch < self.epoch:
            wrong.append(f"its epoch {row.epoch} is before {self.epoch}")
        if self.at is not None and row.at < self.at:
            wrong.append("its time is before that of the entry before")
        self.go_on_from(row)
        self._other_chain, self._other_digest = other_chain, other_digest
        return wrong

    def go_on_from(self, row: Row) -> None:
        self.seq, self.epoch, self.at = row.seq, row.epoch, row.at
        self.chain, self.digest = row.chain, row.digest
        self._other_chain = self._other_digest = None

    def _holds_otherwise(self, row: Row) -> bool:
        other = self._other_chain
        return other is not None and sha256(other + row.hashed).digest() == row.chain

    def _digest_holds_otherwise(self, reading: Reading) -> bool:
        other = self._other_digest
        return other is not None and reading.entry.digest_after(other) == reading.entry.digest

    def ends_at(self, position: Position) -> list[str]:
        """In what the ledger's position is not its last entry."""
        wrong = []
        if position.seq != self.seq:
            wrong.append(f"it is at entry {position.seq}, the last entry is {self.seq}")
        elif position.chain != self.chain:
            wrong.append(f"its chain is not that of entry {self.seq}")
        elif position.digest.encode() != self.digest:
            wrong.append(f"its digest is not that of entry {self.seq}")
        if position.epoch < self.epoch:
            wrong.append(f"its epoch {position.epoch} is before that of entry {self.seq}")
        return wrong
