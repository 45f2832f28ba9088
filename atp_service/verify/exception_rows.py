"""Exceptions beside what the entries opened and settled.

A row has for one cause and key how often, since when, until when. It depends on where the recorder
cut its batches; and if a person has closed it, the next time opens a new one. So a row must be one
that some way of cutting leads to.
"""

from itertools import zip_longest
from typing import NamedTuple

from psycopg import Connection

from atp_service.ledger.write.exceptions import ExceptionStep, Key
from atp_service.verify.findings import Findings


class _Row(NamedTuple):
    status: str
    units: int | None
    detail: str
    times: int
    first_at_ms: int
    last_at_ms: int
    first_seq: int
    last_seq: int
    settled_at_ms: int | None


_ROWS = """
SELECT
    kind, owner, sku, location, reference, status, units, detail, count,
    (extract(epoch FROM first_at) * 1000)::bigint,
    (extract(epoch FROM last_at) * 1000)::bigint,
    first_seq, last_seq,
    (extract(epoch FROM settled_at) * 1000)::bigint
FROM exceptions
WHERE partition = %(partition)s
ORDER BY first_seq
"""


def compare(
    connection: Connection, partition: int, steps: list[ExceptionStep], findings: Findings
) -> int:
    """How many rows there are; those that can't have come of the steps become findings."""
    of_key: dict[Key, list[ExceptionStep]] = {}
    for one in steps:
        of_key.setdefault(one.key, []).append(one)
    rows: dict[Key, list[_Row]] = {}
    compared = 0
    for row in connection.execute(_ROWS, {"partition": partition}):
        compared += 1
        rows.setdefault(tuple(row[:5]), []).append(_Row(*row[5:]))
    for key in dict.fromkeys((*of_key, *rows)):
        for seq, wrong in _wrong(of_key.get(key, []), rows.get(key, [])):
            name = " ".join(filter(None, key))
            findings.add("exceptions", f"the exception {name} {wrong}", seq)
    return compared


def _wrong(steps: list[ExceptionStep], rows: list[_Row]) -> list[tuple[int | None, str]]:
    """What does not fit, and the entry to look at."""
    found: list[tuple[int | None, str]] = []
    first = next((one.seq for one in steps if one.opens), None)
    if first is not None and (not rows or rows[0].first_seq > first):
        found.append((first, "has no row"))
    for row, following in zip_longest(rows, rows[1:]):
        end = None if following is None else following.first_seq
        mine = [one for one in steps if row.first_seq <= one.seq and (end is None or one.seq < end)]
        opened = [one for one in mine if one.opens]
        if not opened or opened[0].seq != row.first_seq:
            found.append((None, "follows from no entry"))
            continue
        wrong = _columns(row, mine, opened)
        if wrong:
            words = ", ".join(wrong)
            found.append((opened[-1].seq, f"has another {words} than the entries come to"))
    return found


def _columns(row: _Row, mine: list[ExceptionStep], opened: list[ExceptionStep]) -> list[str]:
    """Which columns can't have come of the steps."""
    last = [one for one in mine if one.seq >= opened[-1].seq]
    over = [one for one in last if not one.opens]
    status = "settled" if over and not mine[-1].opens else "open"
    settled = {one.at_ms for one in over} if status == "settled" else {None}
    checks = {
        "count": row.times == len(opened),
        "first_at": row.first_at_ms == opened[0].at_ms,
        "last": (row.last_seq, row.last_at_ms) in {(one.seq, one.at_ms) for one in last},
        "units": row.units in {one.units for one in last},
        "detail": row.detail in {one.detail for one in last},
        "status": row.status in (status, "resolved"),
        "settled_at": row.status == "resolved" or row.settled_at_ms in settled,
    }
    return [name for name, holds in checks.items() if not holds]
