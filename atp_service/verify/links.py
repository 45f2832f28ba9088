"""Entry after entry: nothing missing, nothing changed, time and epoch never going back."""

from hashlib import sha256

from atp_service.ledger.binary import micros
from atp_service.ledger.chain import Row
from atp_service.ledger.position import GENESIS, Position
from atp_service.verify.reading import Reading

_BEGINNING = -(2**63)  # of Postgres's time


class Links:
    """What the next entry has to continue. A fault is told once: what follows goes on from it."""

    def __init__(self, before: Row | None = None) -> None:
        self.seq = before.seq if before else 0
        self.epoch = before.epoch if before else 0
        self.at = before.at if before else _BEGINNING
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
        chain = sha256(self.chain + row.hashed).digest()
        digest = reading.entry.digest_after(self.digest.decode()) if reading else None
        if (
            reading is not None
            and chain == row.chain
            and digest == reading.entry.digest
            and self.epoch <= row.epoch == reading.head.epoch
            and self.at <= row.at == micros(reading.head.at_ms)
            and row.kind == reading.head.kind.encode()
        ):
            self.go_on_from(row)
            return []
        wrong = self._wrong(row, reading, chain, digest)
        self.go_on_from(row)
        self._other_chain = chain if chain != row.chain else None
        self._other_digest = digest if reading and digest != reading.entry.digest else None
        return wrong

    def _wrong(
        self, row: Row, reading: Reading | None, chain: bytes, digest: str | None
    ) -> list[str]:
        wrong = []
        if chain != row.chain and not self._holds_otherwise(row):
            wrong.append("its row is not the one that was chained")
        if reading is not None:
            if digest != reading.entry.digest and not self._digest_holds_otherwise(reading):
                wrong.append("its digest does not follow")
            head = reading.head
            told = (head.epoch, micros(head.at_ms), head.kind.encode())
            if told != (row.epoch, row.at, row.kind):
                wrong.append("its columns are not what its head says")
        if row.epoch < self.epoch:
            wrong.append(f"its epoch {row.epoch} is before {self.epoch}")
        if row.at < self.at:
            wrong.append("its time is before that of the entry before")
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
