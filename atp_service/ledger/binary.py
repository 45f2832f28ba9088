"""Values and rows as Postgres's binary COPY writes and reads them.

A value is its length and its bytes, a row the number of its values and the values. Rows are
joined and sent by the buffer: that is several times faster than handing over row by row.
Format: https://www.postgresql.org/docs/16/sql-copy.html (Binary Format).
"""

from collections.abc import Iterable
from struct import Struct

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

_MS_TO_2000 = 946_684_800_000  # Postgres counts microseconds from 2000, we milliseconds from 1970

pack_length = Struct(">i").pack
_pack_bigint = Struct(">iq").pack


def micros(at_ms: int) -> int:
    """A timestamptz's number."""
    return (at_ms - _MS_TO_2000) * 1000


def bigint(number: int | None) -> bytes:
    return NULL if number is None else _pack_bigint(8, number)


def timestamp(at_ms: int | None) -> bytes:
    return NULL if at_ms is None else _pack_bigint(8, (at_ms - _MS_TO_2000) * 1000)


def blob(value: bytes) -> bytes:
    return pack_length(len(value)) + value


def text(value: str) -> bytes:
    """Postgres keeps any text but the character NUL, which no id has: it shows as U+FFFD."""
    encoded = value.encode()
    if b"\0" in encoded:
        encoded = encoded.replace(b"\0", b"\xef\xbf\xbd")
    return pack_length(len(encoded)) + encoded


def json(document: bytes) -> bytes:
    """A jsonb: one byte of version before the document."""
    return pack_length(len(document) + 1) + b"\x01" + document


def table(rows: Iterable[bytes]) -> bytes:
    """A whole COPY in one buffer."""
    return b"".join((HEADER, *rows, TRAILER))
