"""Values, rows and columns as Postgres sends and receives them in binary.

A value is its length and its bytes. A row of COPY is the number of its values and the values; a
column is an array: a head, and the same values. So a value is packed once for both ways.
Rows are joined and sent by the buffer, which is several times faster than row by row.
Format: https://www.postgresql.org/docs/16/sql-copy.html (Binary Format).
"""

import re
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

_MS_TO_2000 = 946_684_800_000  # Postgres counts microseconds from 2000, we milliseconds from 1970

_pack_length = Struct(">i").pack
_pack_count = Struct(">h").pack
_pack_bigint = Struct(">iq").pack
_pack_integer = Struct(">ii").pack
_pack_array = Struct(">iiiii").pack
_LONG = 256
_SHORT = [_pack_length(length) for length in range(_LONG)]  # of most values, packed already
_unpack_length = Struct(">i").unpack_from
# Only after whole pairs of backslashes: an escaped backslash and then `u0000` is no NUL.
_nul_to_unknown = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000").sub
_encode_json = msgspec.json.Encoder().encode
_TYPES = {
    "bool": 16,
    "bytea": 17,
    "int8": 20,
    "int4": 23,
    "text": 25,
    "timestamptz": 1184,
    "jsonb": 3802,
}


class Column(bytes):
    """An array of values of one type, as a statement's parameter."""


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> Buffer:
        return obj


def accept_columns(connection: AsyncConnection) -> None:
    """Let the connection's statements take columns as parameters."""
    connection.adapters.register_dumper(Column, _ColumnDumper)


def micros(at_ms: int) -> int:
    """A timestamptz's number."""
    return (at_ms - _MS_TO_2000) * 1000


def integer(number: int) -> bytes:
    return _pack_integer(4, number)


def bigint(number: int | None) -> bytes:
    return NULL if number is None else _pack_bigint(8, number)


def boolean(value: bool) -> bytes:
    return b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def timestamp(at_ms: int | None) -> bytes:
    return NULL if at_ms is None else _pack_bigint(8, (at_ms - _MS_TO_2000) * 1000)


def blob(value: bytes) -> bytes:
    length = len(value)
    return (_SHORT[length] if length < _LONG else _pack_length(length)) + value


def as_text(value: str) -> str:
    """A text as Postgres keeps it: a NUL, which no id has, becomes U+FFFD."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


def text(value: str) -> bytes:
    return blob(as_text(value).encode())


def as_json(document: Any) -> bytes:
    """JSON that Postgres keeps: as in a text, NUL becomes U+FFFD."""
    written = _encode_json(document)
    return _nul_to_unknown(rb"\1\\ufffd", written) if b"u0000" in written else written


def json(document: Any) -> bytes:
    """A jsonb: one byte of version before the JSON."""
    return blob(b"\x01" + as_json(document))


def pack_row(*values: bytes) -> bytes:
    """A row of COPY."""
    return _pack_count(len(values)) + b"".join(values)


def table(rows: Iterable[bytes]) -> bytes:
    """A whole COPY in one buffer."""
    return b"".join((HEADER, *rows, TRAILER))


def values_of(row: bytes) -> list[bytes]:
    """A COPY row's values, each with its length."""
    values, at, end = [], 2, len(row)
    while at < end:
        length: int = _unpack_length(row, at)[0]
        after = at + 4 + max(0, length)
        values.append(row[at:after])
        at = after
    return values


def columns(types: Sequence[str], rows: Sequence[Sequence[bytes]]) -> list[Column]:
    """Rows of values, turned on their side."""
    return [
        Column(_pack_array(1, 1, _TYPES[name], len(rows), 1) + b"".join(values))
        for name, values in zip(types, zip(*rows, strict=True), strict=True)
    ]
