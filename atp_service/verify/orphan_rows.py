"""Rows that no entry can have made: of an unknown partition, or from before the first entry.

The walk over a partition does not meet them.
"""

from collections.abc import Sequence
from typing import Final

from psycopg import Connection, sql

from atp_service.verify.findings import Check, Findings

_MOST: Final = 100  # of a table
_TABLES: Final[tuple[tuple[Check, str], ...]] = (
    ("movements", "seq"),
    ("events", "seq"),
    ("traces", "seq"),
    ("snapshot_lines", "seq"),
    ("parked", "seq"),
    ("exceptions", "first_seq"),
    ("levels", "seq"),
    ("reservations", "seq"),
    ("orders", "seq"),
)
_ROWS: Final = """
SELECT partition, {seq}
FROM {table}
WHERE partition <> ALL(%(partitions)s)
   OR {seq} < 1
ORDER BY partition, {seq}
LIMIT {most}
"""
_ENTRIES: Final = """
SELECT partition, seq
FROM entries
WHERE partition = ANY(%(partitions)s)
  AND seq < 1
"""


def find(connection: Connection, partitions: Sequence[int], findings: Findings) -> None:
    """`partitions` are those that have entries, or a position."""
    of = {"partitions": list(partitions)}
    for partition, seq in connection.execute(_ENTRIES, of):
        findings.add("chain", f"partition {partition} has an entry {seq}: the first is 1")
    for table, column in _TABLES:
        query = sql.SQL(_ROWS).format(
            table=sql.Identifier(table), seq=sql.Identifier(column), most=_MOST
        )
        for partition, seq in connection.execute(query, of):
            findings.add(table, f"a row in {table} is of entry {seq} of partition {partition}")
