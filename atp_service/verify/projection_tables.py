"""Levels, reservations and orders beside the last images: every row, every column, to the byte."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from psycopg import Connection, sql

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION
from atp_service.inventory.reservations import decode_standing
from atp_service.inventory.stock import SEPARATOR, decode_level
from atp_service.ledger.read import raw_entries
from atp_service.ledger.tables import LEVELS, ORDERS, RESERVATIONS, Table
from atp_service.ledger.write.rows import Values, level_values, order_values, reservation_values
from atp_service.postgres.binary import values_of
from atp_service.verify.decoded_entry import UNREADABLE, subject
from atp_service.verify.findings import Check, Findings
from atp_service.verify.folded_state import FoldedState

_TABLES: Final[tuple[tuple[Check, str, Table], ...]] = (
    ("levels", LEVEL, LEVELS),
    ("reservations", RESERVATION, RESERVATIONS),
    ("orders", ORDER, ORDERS),
)
_decode = msgspec.json.Decoder().decode


def compare(connection: Connection, state: FoldedState, findings: Findings) -> int:
    """How many rows there are; those that differ from the last images become findings."""
    return sum(
        _compare(connection, check, kind, table, state, findings) for check, kind, table in _TABLES
    )


def _compare(
    connection: Connection,
    check: Check,
    kind: str,
    table: Table,
    state: FoldedState,
    findings: Findings,
) -> int:
    images = state.images
    right: dict[int, str] = {}  # by a row's hash the name of its image
    unreadable = set[str]()
    for name, (seq, _, in_redis) in images.items():
        # The row of a level goes with it; of the others the last image stays.
        if name[0] != kind or (kind == LEVEL and not in_redis):
            continue
        try:
            right[hash(b"".join(_right(name, state)))] = name
        except UNREADABLE as fault:
            unreadable.add(name)
            findings.add(check, f"{subject(name)} can't be a row ({fault})", seq, (name,))
    query = sql.SQL("SELECT {} FROM {} WHERE partition = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.Identifier(table.name),
        state.partition.number,
    )
    compared, others = 0, list[bytes]()
    for block in raw_entries.blocks(connection, query):
        compared += len(block)
        others += [row for row in block if right.pop(hash(row[2:]), None) is None]
    missing = set(right.values())
    for row in others:
        values = values_of(row)
        places = table.places(*table.key)
        key = SEPARATOR.join(values[place][4:].decode(errors="replace") for place in places)
        name = kind + key
        if name in missing:
            missing.discard(name)
            columns = _differing(table, values, _right(name, state))
            if columns:
                words = f"{subject(name)} has another {columns} than the entries come to"
                findings.add(check, words, images[name][0])
        elif name not in unreadable:
            findings.add(check, f"{subject(name)} follows from no entry")
    for name in sorted(missing):
        findings.add(check, f"{subject(name)} has no row", images[name][0])
    return compared


def _right(name: str, state: FoldedState) -> Values:
    """The row that must be there for an image."""
    seq, image, in_redis = state.images[name]
    key, partition = name[1:], state.partition.number
    if name[0] == LEVEL:
        level = decode_level(image)
        folded = level.on_hand - state.drift.get(key, 0)
        return level_values(partition, seq, key, level, image, folded)
    if name[0] == RESERVATION:
        return reservation_values(
            partition, seq, key, decode_standing(image), image, in_redis=in_redis
        )
    return order_values(partition, seq, key, image, in_redis=in_redis)


def _differing(table: Table, there: Iterable[bytes], right: Values) -> str:
    """The columns that differ. Postgres writes jsonb in its own way: there the content counts."""
    return ", ".join(
        column
        for column, mine, other in zip(table.columns, right, there, strict=True)
        if mine != other and not (column == "extras" and _document(mine) == _document(other))
    )


def _document(jsonb: bytes) -> Any:
    """A jsonb's content."""
    return _decode(jsonb[5:])
