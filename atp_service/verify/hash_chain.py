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
    # If the entry before did not hold: what it would have been, had it held.
    other_chain: bytes | None = None
    other_digest: str | None = None

    def take(self, row: Row, findings: Findings) -> DecodedEntry | None:
        """The next entry; None if it can't be read. Whatever does not hold becomes a finding."""
        seq, decoded, wrong = row.seq, None, []
        try:
            decoded = read(row)
        except ValueError as fault:
            wrong.append(f"can't be read ({fault})")
        if seq != self.seq + 1:
            findings.add("chain", _gap(self.seq, seq), min(seq, self.seq + 1))
            self.go_on_from(row)
        else:
            wrong += self._follow(row, decoded)
        if wrong:
            name = called(decoded) if decoded else f"entry {seq}"
            findings.add("chain", f"{name}: {', '.join(wrong)}", seq)
        return decoded

    def _follow(self, row: Row, decoded: DecodedEntry | None) -> list[str]:
        """In what the entry does not continue the one before; nothing if it does."""
        wrong: list[str] = []
        other_chain = other_digest = None
        chain = sha256(self.chain + row.hashed).digest()
        if chain != row.chain:
            other_chain = chain
            if not self._holds_otherwise(row):
                wrong.append("its row is not the one that was chained")
        if decoded is not None:
            head, entry = decoded.head, decoded.entry
            digest = entry.digest_after(self.digest.decode())
            if digest != entry.digest:
                other_digest = digest
                if self.other_digest is None or (
                    entry.digest_after(self.other_digest) != entry.digest
                ):
                    wrong.append("its digest does not follow")
            columns = (head.epoch, micros(head.at_ms), head.kind.encode())
            if columns != (row.epoch, row.at, row.kind):
                wrong.append("its columns are not those of its head")
        if row.epoch < self.epoch:
            wrong.append(f"its epoch {row.epoch} is before {self.epoch}")
        if row.at < self.at:
            wrong.append("its time is before that of the entry before")
        self.go_on_from(row)
        self.other_chain, self.other_digest = other_chain, other_digest
        return wrong

    def go_on_from(self, row: Row) -> None:
        self.seq, self.epoch, self.at = row.seq, row.epoch, row.at
        self.chain, self.digest = row.chain, row.digest
        self.other_chain = self.other_digest = None

    def _holds_otherwise(self, row: Row) -> bool:
        other = self.other_chain
        return other is not None and sha256(other + row.hashed).digest() == row.chain

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


def _gap(last: int, seq: int) -> str:
    if seq <= last:
        return f"entry {seq} comes after entry {last}"
    if seq == last + 2:
        return f"entry {last + 1} is missing"
    return f"entries {last + 1}–{seq - 1} are missing"
