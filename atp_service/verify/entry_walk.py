"""A range of a partition's entries, walked one by one: each checked, judged, folded."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct
from psycopg import Connection

from atp_service.inventory.journal import DecodedEntry
from atp_service.ledger.read import raw_entries
from atp_service.verify.append_only_tables import Appended
from atp_service.verify.decoded_entry import called, repaired_by
from atp_service.verify.exception_rows import Noticed
from atp_service.verify.findings import Check, Findings
from atp_service.verify.folded_state import State
from atp_service.verify.hash_chain import Links
from atp_service.verify.reexecution import Machine
from atp_service.verify.transitions import Steps

Tell = Callable[[int], None]  # how many entries more have been walked


class Range(Struct, frozen=True, kw_only=True):
    """The entries with after < seq <= through. `execute` asks for their commands, once more."""

    database_url: str
    partition: int
    after: int
    through: int
    window_ms: int
    execute: bool


class Judge(Protocol):
    """Says in what an entry does not follow from the state before it."""

    check: Check

    def differences(self, reading: DecodedEntry) -> list[tuple[str, str]]: ...


class Walk:
    """Walks on from the range's beginning, as far as it is told each time."""

    def __init__(self, span: Range) -> None:
        self.span = span
        self.findings = Findings()
        self.entries = 0
        self.state = State(span.partition, span.window_ms)
        self.links = Links()
        self.drift: dict[str, int] = {}
        self.repairs: dict[str, int] = {}
        self.noticed = Noticed()
        self.appended = Appended(span.partition, span.after)
        self._earlier = raw_entries.Earlier(span.database_url, span.partition)
        self._judge: Judge = (
            Machine(self.state, self._earlier) if span.execute else Steps(self.state)
        )

    def begin(self, connection: Connection) -> None:
        """Take over what the entries before the range came to: others look at how."""
        span = self.span
        if span.after:
            self.state.begin_after(
                raw_entries.images_through(connection, span.partition, span.after)
            )
            self.links = links_at(connection, span.partition, span.after)

    def go_on(self, connection: Connection, through: int, tell: Tell) -> None:
        """Walk the entries that follow, through the one named."""
        span = self.span
        for lines in raw_entries.entry_lines(connection, span.partition, self.links.seq, through):
            for line in lines:
                self.take(raw_entries.row_of(line))
            self.appended.sum_up()
            tell(len(lines))

    def close(self) -> None:
        self._earlier.close()

    def take(self, row: raw_entries.Row) -> None:
        """The next entry."""
        self.entries += 1
        seq, reading = row.seq, self.links.take(row, self.findings)
        if reading is None:
            return
        differences = self._judge.differences(reading)
        if differences:
            names = tuple(name for name, _ in differences if name)
            words = "; ".join(words for _, words in differences)
            self.findings.add(self._judge.check, f"{called(reading)}: {words}", seq, names)
        self.appended.add(reading, self.findings)
        self.noticed.add(reading)
        repaired = repaired_by(reading.command)
        if repaired is not None:
            self.repairs[repaired] = seq
        self._note_drift(reading)
        self.state.adopt(reading)

    def _note_drift(self, reading: DecodedEntry) -> None:
        """By how much the entry's levels are not what the ones before and its deltas come to."""
        deltas = iter(reading.head.on_hand_deltas)
        for name, level in reading.levels.items():
            before = self.state.partition.levels.get(name)
            drift = level.on_hand - (before.on_hand if before else 0) - next(deltas, 0)
            if drift:
                self.drift[name] = self.drift.get(name, 0) + drift


def links_at(connection: Connection, partition: int, seq: int) -> Links:
    """What the entry after `seq` has to continue."""
    row = raw_entries.last_entry(connection, partition, seq)
    return Links() if row is None else Links(row.seq, row.epoch, row.at, row.chain, row.digest)
