"""Levels, reservations and orders beside the fold: every row, every column, byte for byte."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection, sql

from atp_service.inventory.reservations import decode_reservation
from atp_service.inventory.stock import decode_level
from atp_service.ledger import chain
from atp_service.ledger.binary import values_of
from atp_service.ledger.rows import (
    Values,
    level_values,
    order_values,
    reservation_values,
)
from atp_service.verify.findings import Check, Findings
from atp_service.verify.reading import subject
from atp_service.verify.state import State


class _Table(NamedTuple):
    """A projection. `names` are the places of the columns that make up an image's name."""

    check: Check
    prefix: str
    columns: tuple[str, ...]
    names: tuple[int, ...]


_TABLES = (
    _Table(
        "levels",
        "l",
        (
            *("partition", "seq", "version", "moves", "on_hand", "reserved", "allocated"),
            *("unavailable", "updated_at", "safety_stock", "sku", "location", "extras"),
            *("document", "folded"),
        ),
        (10, 11),
    ),
    _Table(
        "reservations",
        "r",
        (
            *("partition", "seq", "expires_at", "closed_at", "reservation_id", "status"),
            *("order_id", "document"),
        ),
        (4,),
    ),
    _Table("orders", "o", ("partition", "seq", "order_id", "document"), (2,)),
)


def compare(
    connection: Connection,
    partition: int,
    state: State,
    drift: Mapping[str, int],
    findings: Findings,
) -> int:
    """How many rows there are; those that differ from the fold become findings.

    `drift` is what each level's on_hand has beyond the sum of its deltas.
    """
    unseen = set(state.images)
    compared = 0
    for table in _TABLES:
        for row in _rows(connection, table, partition):
            compared += 1
            values = values_of(row)
            name = table.prefix + "\x1f".join(
                values[place][4:].decode(errors="replace") for place in table.names
            )
            if name not in state.images:
                findings.add(table.check, f"{subject(name)} follows from no entry")
                continue
            unseen.discard(name)
            right = _right(partition, name, state, drift)
            if values != list(right):
                columns = _differing(table, values, right)
                if columns:
                    findings.add(
                        table.check,
                        f"{subject(name)} has another {columns} than the entries come to",
                        state.images[name][0],
                    )
    for name in sorted(unseen):
        check = next(table.check for table in _TABLES if table.prefix == name[0])
        findings.add(check, f"{subject(name)} has no row", state.images[name][0])
    return compared


def _rows(connection: Connection, table: _Table, partition: int) -> Iterator[bytes]:
    query = sql.SQL("SELECT {} FROM {} WHERE partition = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.Identifier(table.check),
        partition,
    )
    return chain.lines(connection, query)


def _right(partition: int, name: str, state: State, drift: Mapping[str, int]) -> Values:
    seq, image = state.images[name]
    key = name[1:]
    if name[0] == "l":
        level = decode_level(image)
        folded = level.on_hand - drift.get(key, 0)
        return level_values(partition, seq, key.encode(), level, image, folded)
    if name[0] == "r":
        return reservation_values(partition, seq, key, decode_reservation(image), image)
    return order_values(partition, seq, key, image)


def _differing(table: _Table, there: list[bytes], right: Values) -> str:
    return ", ".join(
        column
        for column, mine, other in zip(table.columns, right, there, strict=True)
        if mine != other and not (column == "extras" and _document(mine) == _document(other))
    )


def _document(jsonb: bytes) -> Any:
    """A jsonb's content: Postgres writes it in its own way."""
    return msgspec.json.decode(jsonb[5:])
