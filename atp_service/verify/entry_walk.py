"""The walk over a partition's entries, in order: each is checked, judged and folded."""

from collections.abc import Callable
from contextlib import suppress

from psycopg import Connection

from atp_service.inventory.journal import DecodedEntry
from atp_service.ledger.read import raw_entries
from atp_service.ledger.write.exceptions import ExceptionStep, exception_steps
from atp_service.verify.append_only_tables import AppendedRows
from atp_service.verify.decoded_entry import UNREADABLE, called, repaired_by
from atp_service.verify.findings import Findings
from atp_service.verify.folded_state import FoldedState
from atp_service.verify.hash_chain import HashChain
from atp_service.verify.reexecution import Reexecution
from atp_service.verify.transitions import Transitions

OnProgress = Callable[[int], None]  # how many entries more have been walked


class EntryWalk:
    """One partition's walk, from its first entry on; it can be continued at any time.

    `repairs` has, by an image's name, the seq of the entry that repaired it last.
    """

    def __init__(self, partition: int, window_ms: int, *, execute: bool) -> None:
        self.partition = partition
        self.findings = Findings()
        self.entries = 0
        self.state = FoldedState(partition, window_ms)
        self.chain = HashChain()
        self.repairs: dict[str, int] = {}
        self.exception_steps: list[ExceptionStep] = []
        self.appended = AppendedRows(partition)
        self._judge: Reexecution | Transitions = (
            Reexecution(self.state) if execute else Transitions(self.state)
        )

    def go_on(self, connection: Connection, through: int, on_progress: OnProgress) -> None:
        """Walk the entries that follow, up to the seq `through`. Raises Unavailable."""
        blocks = raw_entries.entry_lines(connection, self.partition, self.chain.seq, through)
        for lines in blocks:
            for line in lines:
                self.take(raw_entries.row_of(line))
            self.appended.sum_up()
            on_progress(len(lines))

    def take(self, row: raw_entries.Row) -> None:
        """The next entry. What does not hold becomes a finding."""
        self.entries += 1
        decoded = self.chain.take(row, self.findings)
        if decoded is None:
            return
        differences = self._judge.differences(decoded)
        if differences:
            names = tuple(name for name, _ in differences if name)
            words = "; ".join(words for _, words in differences)
            self.findings.add(self._judge.check, f"{called(decoded)}: {words}", row.seq, names)
        self.appended.add(decoded, self.findings)
        self._fold(decoded)

    def compare_appended(self, connection: Connection) -> int:
        """Compare the tables that entries only append to; how many rows there are."""
        return self.appended.compare(connection, self.chain.seq, self.findings)

    def _fold(self, decoded: DecodedEntry) -> None:
        with suppress(*UNREADABLE):  # it is a finding already
            self.exception_steps += exception_steps(decoded)
        repaired = repaired_by(decoded)
        if repaired is not None:
            self.repairs[repaired] = decoded.entry.seq
        self.state.adopt(decoded)
