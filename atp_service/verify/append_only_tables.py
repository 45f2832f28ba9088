"""Rows that are only added to, beside the entries they follow from: every row, every column.

Hashes of rows are added up, in any order. If a sum differs, the rows are compared in buckets of
entries, and those of a bucket that differs one by one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct as Layout
from typing import Final, NamedTuple

from psycopg import Connection, sql

from atp_service.inventory.journal import DecodedEntry
from atp_service.ledger import tables
from atp_service.ledger.read import raw_entries
from atp_service.ledger.tables import Table
from atp_service.ledger.write.rows import events, movements, parked, snapshot_lines, traces
from atp_service.postgres.binary import values_of
from atp_service.verify.decoded_entry import UNREADABLE, called, read
from atp_service.verify.findings import Check, Findings

_BUCKET_BITS: Final = 12
_SEQ_PLACE: Final = 14
_unpack_seq = Layout(">q").unpack_from


class _Checked(NamedTuple):
    """A table whose rows follow from entries; `names` are the columns that name a row."""

    check: Check
    table: Table
    names: tuple[str, ...]
    rows: Callable[[int, DecodedEntry], Sequence[bytes]]

    def name_of(self, row: bytes) -> list[str]:
        values = values_of(row)
        places = self.table.places(*self.names)
        return [values[place][4:].decode(errors="replace") for place in places]


_TABLES: Final = (
    _Checked("movements", tables.MOVEMENTS, ("sku", "location"), movements),
    _Checked("events", tables.EVENTS, ("source", "event_id"), events),
    _Checked("traces", tables.TRACES, ("ref",), traces),
    _Checked(
        "snapshot_lines", tables.SNAPSHOT_LINES, ("source", "location", "sku"), snapshot_lines
    ),
    _Checked("parked", tables.PARKED, ("source", "event_id"), parked),
)
# A parked message is compared together with its exception's key.
_PARKED: Final = sql.SQL(
    "(SELECT parked.*, kind, owner, reference FROM parked"
    " JOIN exceptions ON exceptions.id = exception_id) AS parked"
)


class AppendedRows:
    """The rows that entries must have. Their hashes are added up from time to time."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._sums = [0] * len(_TABLES)
        self._rows: list[list[bytes]] = [[] for _ in _TABLES]

    def add(self, decoded: DecodedEntry, findings: Findings) -> None:
        """Take in an entry's rows."""
        try:
            found = [table.rows(self._partition, decoded) for table in _TABLES]
        except UNREADABLE as fault:
            words = f"{called(decoded)}: can't be written as rows ({fault})"
            findings.add("images", words, decoded.entry.seq)
            return
        for rows, more in zip(self._rows, found, strict=True):
            rows += more

    def sum_up(self) -> None:
        """Add up the rows so far, and let go of them."""
        for place, rows in enumerate(self._rows):
            self._sums[place] += sum(map(hash, rows))
            rows.clear()

    def compare(self, connection: Connection, through: int, findings: Findings) -> int:
        """How many rows there are; those that differ become findings."""
        self.sum_up()
        compared = 0
        for table, right in zip(_TABLES, self._sums, strict=True):
            there = 0
            for block in self._blocks(connection, table, 0, through):
                compared += len(block)
                there += sum(map(hash, block))
            if there != right:
                for first, last in self._buckets(connection, table, through):
                    self._name(connection, table, first - 1, last, findings)
        return compared

    def _buckets(
        self, connection: Connection, table: _Checked, through: int
    ) -> Iterator[tuple[int, int]]:
        """The first and the last entry of each bucket that differs."""
        rest: Counter[int] = Counter()
        for row in self._right(connection, table, 0, through):
            rest[seq_of(row) >> _BUCKET_BITS] += hash(row)
        for block in self._blocks(connection, table, 0, through):
            for row in block:
                rest[seq_of(row) >> _BUCKET_BITS] -= hash(row)
        for bucket in sorted(bucket for bucket, sum_of in rest.items() if sum_of):
            first = bucket << _BUCKET_BITS
            yield first, min(through, first + (1 << _BUCKET_BITS) - 1)

    def _right(
        self, connection: Connection, table: _Checked, after: int, through: int
    ) -> Iterator[bytes]:
        """The rows that the entries must have."""
        for entry in raw_entries.entries(connection, self._partition, after, through):
            with suppress(*UNREADABLE):  # it is a finding already
                yield from table.rows(self._partition, read(entry))

    def _blocks(
        self, connection: Connection, table: _Checked, after: int, through: int
    ) -> Iterator[list[bytes]]:
        """The rows that are there."""
        query = sql.SQL("SELECT {} FROM {} WHERE partition = {} AND seq > {} AND seq <= {}").format(
            sql.SQL(", ").join(map(sql.Identifier, table.table.columns)),
            _PARKED if table.check == "parked" else sql.Identifier(table.check),
            self._partition,
            after,
            through,
        )
        return raw_entries.blocks(connection, query)

    def _name(
        self, connection: Connection, table: _Checked, after: int, through: int, findings: Findings
    ) -> None:
        """Say which rows of a bucket differ."""
        right = Counter(self._right(connection, table, after, through))
        there: Counter[bytes] = Counter()
        for block in self._blocks(connection, table, after, through):
            there.update(block)
        # By entry and name: of two rows under one name only some columns differ.
        strange: dict[tuple[int, str], list[bytes]] = {}
        for row in sorted((there - right).elements(), key=seq_of):
            strange.setdefault(_called(table, row), []).append(row)
        for row in sorted((right - there).elements(), key=seq_of):
            seq, name = key = _called(table, row)
            if strange.get(key):
                columns = _differing(table, row, strange[key].pop(0))
                words = f"{name} has another {columns} than its entry"
                findings.add(table.check, words, seq)
            elif table.check != "events" or not self._is_of_earlier(connection, table, row):
                findings.add(table.check, f"{name} is missing", seq)
        for (seq, name), rows in strange.items():
            for _ in rows:
                findings.add(table.check, f"{name} follows from no entry", seq)

    def _is_of_earlier(self, connection: Connection, table: _Checked, row: bytes) -> bool:
        """An event whose dedupe window was lost may be in two entries; its row is the first's."""
        source, event_id = table.name_of(row)
        found = connection.execute(
            """
            SELECT
            FROM events
            WHERE source = %(source)s
              AND event_id = %(event_id)s
              AND partition = %(partition)s
              AND seq < %(seq)s
            """,
            {
                "source": source,
                "event_id": event_id,
                "partition": self._partition,
                "seq": seq_of(row),
            },
        )
        return found.fetchone() is not None


def seq_of(row: bytes) -> int:
    """The entry of a row that begins with partition and seq."""
    seq: int = _unpack_seq(row, _SEQ_PLACE)[0]
    return seq


def _differing(table: _Checked, right: bytes, there: bytes) -> str:
    pairs = zip(table.table.columns, values_of(right), values_of(there), strict=True)
    return ", ".join(column for column, mine, other in pairs if mine != other)


def _called(table: _Checked, row: bytes) -> tuple[int, str]:
    """The row's entry, and its name for people."""
    seq = seq_of(row)
    joined = " at " if table.check == "movements" else " "
    return seq, f"entry {seq}: its row in {table.check} for {joined.join(table.name_of(row))}"
