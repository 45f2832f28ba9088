"""Entries as their rows lie in Postgres, in order: what a verifier reads and the chain hashes.

A row of binary COPY holds the very bytes that the recorder hashed, so nothing is encoded again.
A verifier waits for nothing else meanwhile: plain connections, no event loop.
"""

from collections.abc import Iterator
from itertools import chain as chained
from struct import Struct as Layout

import psycopg
from msgspec import Struct
from psycopg import Connection, sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from atp_service.inventory.journal import Entry, decode_images
from atp_service.ledger.position import Position
from atp_service.ledger.schema import check_newest
from atp_service.ledger.tables import ENTRIES
from atp_service.postgres.binary import HEADER, TRAILER
from atp_service.postgres.unavailable import unavailable_when_away

# A row's numbers, each after its length, and the length of its first text.
_numbers = Layout(f"{ENTRIES.layout().format}i").unpack_from
_NUMBERS = ENTRIES.layout().size + 4
_length = Layout(">i").unpack_from
_ROWS = 1_000  # of a block
_NO_ROW = len(TRAILER)  # a message as short ends a COPY


class Row(Struct, frozen=True, gc=False):
    """An entry's row, taken apart. `hashed` is all of it but the chain; times are Postgres's."""

    seq: int
    epoch: int
    at: int
    kind: bytes
    command: bytes
    head: bytes
    images: bytes
    digest: bytes
    chain: bytes
    hashed: bytes

    def entry(self) -> Entry:
        """As the journal had it. Raises ValueError if it can't be read."""
        return Entry(
            self.seq, self.command, self.head, self.digest.decode(), decode_images(self.images)
        )


def row_of(line: bytes) -> Row:
    """A line of COPY, taken apart: each text is a length and so many bytes."""
    _, _, _, _, seq, _, epoch, _, at, length = _numbers(line)
    command = _NUMBERS + length + 4
    head = command + _length(line, command - 4)[0] + 4
    images = head + _length(line, head - 4)[0] + 4
    digest = images + _length(line, images - 4)[0] + 4
    chain = digest + _length(line, digest - 4)[0] + 4
    return Row(
        seq,
        epoch,
        at,
        line[_NUMBERS : command - 4],
        line[command : head - 4],
        line[head : images - 4],
        line[images : digest - 4],
        line[digest : chain - 4],
        line[chain:],
        line[: chain - 4],
    )


def connect(database_url: str) -> Connection:
    """A connection that reads and never writes. Raises Unavailable; TooOld for a ledger of another
    version."""
    with unavailable_when_away():
        connection = psycopg.connect(database_url, autocommit=True, connect_timeout=3)
        connection.execute("SET default_transaction_read_only = on")
        check_newest(connection)
        return connection


def positions(connection: Connection) -> dict[int, Position]:
    """How far each partition is recorded."""
    with unavailable_when_away():
        rows = connection.execute(
            """
            SELECT partition, epoch, seq, digest, chain, run_id
            FROM positions
            ORDER BY partition
            """
        ).fetchall()
    return {row[0]: Position(*row[1:]) for row in rows}


def partitions(connection: Connection) -> list[int]:
    """The partitions that have entries, by the entries alone."""
    with unavailable_when_away():
        rows = connection.execute(
            """
            WITH RECURSIVE found AS (
                SELECT min(partition) AS partition
                FROM entries
                UNION ALL
                SELECT (SELECT min(partition) FROM entries WHERE partition > found.partition)
                FROM found
                WHERE found.partition IS NOT NULL
            )
            SELECT partition
            FROM found
            WHERE partition IS NOT NULL
            """
        ).fetchall()
    return [row[0] for row in rows]


def entries(connection: Connection, partition: int, after: int, through: int) -> Iterator[Row]:
    """The entries with after < seq <= through, by seq."""
    return map(row_of, chained.from_iterable(entry_lines(connection, partition, after, through)))


def entry_lines(
    connection: Connection, partition: int, after: int, through: int
) -> Iterator[list[bytes]]:
    """The same as they lie, in blocks."""
    query = sql.SQL(
        "SELECT {} FROM entries WHERE partition = {} AND seq > {} AND seq <= {} ORDER BY seq"
    ).format(sql.SQL(", ").join(map(sql.Identifier, ENTRIES.columns)), partition, after, through)
    return blocks(connection, query)


def blocks(connection: Connection, query: sql.Composable) -> Iterator[list[bytes]]:
    """The rows in blocks, straight from libpq: psycopg's own COPY costs four times as much a row.

    A caller that does not take all of them loses the connection.
    """
    copied = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query).as_bytes(connection)
    libpq, size = connection.pgconn, 0
    with unavailable_when_away():
        try:
            begun = libpq.exec_(copied)
            if begun.status != ExecStatus.COPY_OUT:
                raise error_from_result(begun)
            copy = libpq.get_copy_data
            size, data = copy(0)
            first = bytes(data).removeprefix(HEADER)
            rows = [first] if len(first) > _NO_ROW else []
            while size > _NO_ROW:
                add = rows.append
                for _ in range(_ROWS):
                    size, data = copy(0)
                    if size <= _NO_ROW:
                        break
                    add(bytes(data))
                yield rows
                rows = []
            while size > 0:
                size, _ = copy(0)
            while (ended := libpq.get_result()) is not None:
                if ended.status != ExecStatus.COMMAND_OK:
                    raise error_from_result(ended)
        finally:
            if size > 0:
                connection.close()
