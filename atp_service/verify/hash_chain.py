"""Entry after entry: nothing missing, nothing changed, time and epoch never going back."""

from hashlib import sha256

from msgspec import Struct

from atp_service.inventory.journal import DecodedEntry
from atp_service.ledger.position import GENESIS, Position
from atp_service.ledger.read.raw_entries import Row
from atp_service.postgres.binary import micros
from atp_service.verify.decoded_entry import called, read
from atp_service.verify.findings import Findings

_BEGINNING = -(2**63)  # of Postgres's time


class HashChain(Struct):
    """What the next entry has to continue. A fault is found once: the next entry is held against
    what the faulty one would have been, too."""

    seq: int = 0
    epoch: int = 0
    at: int = _BEGINNING
    chain: bytes = GENESIS
    digest: bytes = b""
    # Where the entry before did not hold: what it would have been, had it held.
    other_chain: bytes | None = None
    other_digest: str | None = None

    def take(self, row: Row, findings: Findings) -> DecodedEntry | None:
        """The next entry; None if it can't be read. What does not hold becomes a finding."""
        seq, decoded, wrong = row.seq, None, []
        try:
            decoded = read(row)
        except ValueError as fault:
            wrong.append(f"can't be read ({fault})")
        missing = self.gap(row)
        if missing:
            findings.add("chain", missing, min(seq, self.seq + 1))
            self.go_on_from(row)
        else:
            wrong += self.follow(row, decoded)
        if wrong:
            name = called(decoded) if decoded else f"entry {seq}"
            findings.add("chain", f"{name}: {', '.join(wrong)}", seq)
        return decoded

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

    def follow(self, row: Row, decoded: DecodedEntry | None) -> list[str]:
        """In what the entry does not continue the one before; nothing if it does."""
        chain = sha256(self.chain + row.hashed).digest()
        digest = decoded.entry.digest_after(self.digest.decode()) if decoded else None
        if (
            decoded is not None
            and chain == row.chain
            and digest == decoded.entry.digest
            and self.epoch <= row.epoch == decoded.head.epoch
            and self.at <= row.at == micros(decoded.head.at_ms)
            and row.kind == decoded.head.kind.encode()
        ):
            self.go_on_from(row)
            return []
        wrong = self._wrong(row, decoded, chain, digest)
        self.go_on_from(row)
        self.other_chain = chain if chain != row.chain else None
        self.other_digest = digest if decoded and digest != decoded.entry.digest else None
        return wrong

    def _wrong(
        self, row: Row, decoded: DecodedEntry | None, chain: bytes, digest: str | None
    ) -> list[str]:
        wrong = []
        if chain != row.chain and not self._holds_otherwise(row):
            wrong.append("its row is not the one that was chained")
        if decoded is not None:
            if digest != decoded.entry.digest and not self._digest_holds_otherwise(decoded):
                wrong.append("its digest does not follow")
            head = decoded.head
            columns = (head.epoch, micros(head.at_ms), head.kind.encode())
            if columns != (row.epoch, row.at, row.kind):
                wrong.append("its columns are not what its head says")
        if row.epoch < self.epoch:
            wrong.append(f"its epoch {row.epoch} is before {self.epoch}")
        if row.at < self.at:
            wrong.append("its time is before that of the entry before")
        return wrong

    def go_on_from(self, row: Row) -> None:
        self.seq, self.epoch, self.at = row.seq, row.epoch, row.at
        self.chain, self.digest = row.chain, row.digest
        self.other_chain = self.other_digest = None

    def _holds_otherwise(self, row: Row) -> bool:
        other = self.other_chain
        return other is not None and sha256(other + row.hashed).digest() == row.chain

    def _digest_holds_otherwise(self, decoded: DecodedEntry) -> bool:
        other = self.other_digest
        return other is not None and decoded.entry.digest_after(other) == decoded.entry.digest

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
