"""Rows that are only added to, beside the entries they follow from: every row, every column.

Rows are only added up (their hashes): that is cheap in any order. Where a sum differs, the rows are
looked at in buckets of entries, and those of a bucket that differs one by one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct as Layout
from typing import NamedTuple

from psycopg import Connection, sql

from atp_service.inventory.commands import Fact, Park, Snapshot
from atp_service.inventory.journal import ORDER, RESERVATION, DecodedEntry, decode_fields
from atp_service.ledger.read import raw_entries
from atp_service.ledger.tables import EVENTS, MOVEMENTS, PARKED, SNAPSHOT_LINES, TRACES, Table
from atp_service.ledger.write.batch import (
    Values,
    event_row,
    movement_row,
    parked_values,
    snapshot_line_values,
    trace_rows,
)
from atp_service.postgres.binary import values_of
from atp_service.verify.decoded_entry import UNREADABLE, called, read
from atp_service.verify.findings import Check, Findings

_BUCKET_BITS = 12
_SEQ_PLACE = 14
_unpack_seq = Layout(">q").unpack_from
_pack_count = Layout(">h").pack


class _Checked(NamedTuple):
    """A table whose rows follow from entries; `names` are the places of the columns that name a
    row."""

    check: Check
    table: Table
    names: tuple[int, ...]
    joined: str
    rows: Callable[[int, DecodedEntry], Sequence[bytes]]
    source: sql.Composable

    @property
    def columns(self) -> tuple[str, ...]:
        return self.table.columns


def movements(partition: int, decoded: DecodedEntry) -> Sequence[bytes]:
    """The entry's movements, as binary COPY writes them."""
    head, command = decoded.head, decoded.command
    occurred_at_ms = command.occurred_at_ms if isinstance(command, Fact) else 0
    deltas, seq = head.on_hand_deltas, decoded.entry.seq
    rows = []
    for place, (name, level) in enumerate(decoded.levels.items()):
        delta = deltas[place] if place < len(deltas) else 0
        rows.append(
            movement_row(
                partition, seq, head, name.encode(), level, delta, occurred_at_ms or head.at_ms
            )
        )
    return rows


def events(partition: int, decoded: DecodedEntry) -> Sequence[bytes]:
    """The entry's event, as binary COPY writes it."""
    command = decoded.command
    if not isinstance(command, Fact):
        return ()
    status = decoded.head.event_status
    return (event_row(partition, decoded.seq, command.source, command.event_id, status),)


def traces(partition: int, decoded: DecodedEntry) -> Sequence[bytes]:
    """The entry's traces, as binary COPY writes them."""
    refs = {*decoded.entry.keys(RESERVATION), *decoded.entry.keys(ORDER)}
    refs |= {reservation.order_id for reservation in decoded.reservations.values()}
    return trace_rows(partition, decoded.entry.seq, decode_fields(decoded.entry.command), refs)


def snapshot_lines(partition: int, decoded: DecodedEntry) -> Sequence[bytes]:
    """The line of a snapshot that the entry has compared."""
    command = decoded.command
    if not isinstance(command, Snapshot):
        return ()
    return (_row(snapshot_line_values(partition, decoded.entry.seq, decoded.head, command)),)


def parked(partition: int, decoded: DecodedEntry) -> Sequence[bytes]:
    """The message that the entry has put aside."""
    command = decoded.command
    if not isinstance(command, Park):
        return ()
    return (_row(parked_values(partition, decoded.entry.seq, decoded.head, command)),)


def _row(values: Values) -> bytes:
    return _pack_count(len(values)) + b"".join(values)


# Each message put aside stands beside its exception's cause and key.
_PARKED = sql.SQL(
    "(SELECT parked.*, kind, owner, reference FROM parked"
    " JOIN exceptions ON exceptions.id = exception_id) AS parked"
)


def _checked(
    check: Check,
    table: Table,
    names: Sequence[str],
    rows: Callable[[int, DecodedEntry], Sequence[bytes]],
    joined: str = " ",
    source: sql.Composable | None = None,
) -> _Checked:
    return _Checked(
        check, table, table.places(*names), joined, rows, source or sql.Identifier(table.name)
    )


_TABLES = (
    _checked("movements", MOVEMENTS, ("sku", "location"), movements, joined=" at "),
    _checked("events", EVENTS, ("source", "event_id"), events),
    _checked("traces", TRACES, ("ref",), traces),
    _checked("snapshot_lines", SNAPSHOT_LINES, ("source", "location", "sku"), snapshot_lines),
    _checked("parked", PARKED, ("source", "event_id"), parked, source=_PARKED),
)


class AppendedRows:
    """The rows that entries must have. Their hashes are added up from time to time.

    The entry `after` is the last before those that are looked at.
    """

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.after = 0
        self._sums = [0] * len(_TABLES)
        self._rows: list[list[bytes]] = [[] for _ in _TABLES]

    def add(self, decoded: DecodedEntry, findings: Findings) -> None:
        seq = decoded.entry.seq
        try:
            found = [table.rows(self._partition, decoded) for table in _TABLES]
        except UNREADABLE as fault:
            findings.add("images", f"{called(decoded)}: can't be told as rows ({fault})", seq)
            return
        for rows, more in zip(self._rows, found, strict=True):
            rows += more

    def sum_up(self) -> None:
        for place, rows in enumerate(self._rows):
            self._sums[place] += sum(map(hash, rows))
            rows.clear()

    def compare(self, connection: Connection, through: int, findings: Findings) -> int:
        """How many rows there are; those that differ become findings."""
        self.sum_up()
        compared = 0
        for table, right in zip(_TABLES, self._sums, strict=True):
            there = 0
            for block in self._blocks(connection, table, self.after, through):
                compared += len(block)
                there += sum(map(hash, block))
            if there != right:
                self._look_again(connection, table, through, findings)
        return compared

    def _look_again(
        self, connection: Connection, table: _Checked, through: int, findings: Findings
    ) -> None:
        """Find the buckets that differ."""
        rest: Counter[int] = Counter()
        for entry in raw_entries.entries(connection, self._partition, self.after, through):
            with suppress(*UNREADABLE):  # it is a finding already
                for row in table.rows(self._partition, read(entry)):
                    rest[entry.seq >> _BUCKET_BITS] += hash(row)
        for block in self._blocks(connection, table, self.after, through):
            for row in block:
                rest[seq_of(row) >> _BUCKET_BITS] -= hash(row)
        for bucket in sorted(bucket for bucket, sum_of in rest.items() if sum_of):
            before = max(self.after, (bucket << _BUCKET_BITS) - 1)
            last = min(through, ((bucket + 1) << _BUCKET_BITS) - 1)
            self._name(connection, table, before, last, findings)

    def _blocks(
        self, connection: Connection, table: _Checked, after: int, through: int
    ) -> Iterator[list[bytes]]:
        query = sql.SQL("SELECT {} FROM {} WHERE partition = {} AND seq > {} AND seq <= {}").format(
            sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            table.source,
            self._partition,
            after,
            through,
        )
        return raw_entries.blocks(connection, query)

    def _name(
        self, connection: Connection, table: _Checked, after: int, through: int, findings: Findings
    ) -> None:
        """Say which rows of a bucket differ."""
        right: Counter[bytes] = Counter()
        for entry in raw_entries.entries(connection, self._partition, after, through):
            with suppress(*UNREADABLE):  # it is a finding already
                right.update(table.rows(self._partition, read(entry)))
        there: Counter[bytes] = Counter()
        for block in self._blocks(connection, table, after, through):
            there.update(block)
        missing = sorted((right - there).elements(), key=seq_of)
        strange = sorted((there - right).elements(), key=seq_of)
        for row in missing:
            twin = next((other for other in strange if _are_twins(table, row, other)), None)
            if twin is not None:
                strange.remove(twin)
                findings.add(table.check, _difference(table, row, twin), seq_of(row))
            elif not self._was_told_before(connection, table, row):
                findings.add(table.check, f"{_called(table, row)} is missing", seq_of(row))
        for row in strange:
            findings.add(table.check, f"{_called(table, row)} follows from no entry", seq_of(row))

    def _was_told_before(self, connection: Connection, table: _Checked, row: bytes) -> bool:
        """An event whose window was lost may have come to two entries; its row is the first's."""
        if table.check != "events":
            return False
        source, event_id = (value[4:].decode() for value in values_of(row)[2:4])
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


def _are_twins(table: _Checked, row: bytes, other: bytes) -> bool:
    """Whether both are of the same entry and the same thing."""
    mine, others = values_of(row), values_of(other)
    return all(mine[place] == others[place] for place in (1, *table.names))


def _difference(table: _Checked, right: bytes, there: bytes) -> str:
    pairs = zip(table.columns, values_of(right), values_of(there), strict=True)
    columns = ", ".join(column for column, mine, other in pairs if mine != other)
    return f"{_called(table, right)} has another {columns} than its entry"


def _called(table: _Checked, row: bytes) -> str:
    values = values_of(row)
    name = table.joined.join(values[place][4:].decode(errors="replace") for place in table.names)
    return f"entry {seq_of(row)}: its row in {table.check} for {name}"
