"""Levels, reservations and orders beside the fold: every row, every column, byte for byte."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from psycopg import Connection, sql

from atp_service.inventory.reservations import decode_reservation
from atp_service.inventory.stock import SEPARATOR, Extras, level_field
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

T = TypeVar("T")

_NO_EXTRAS = Extras()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


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

    `drift` is what each level's on_hand has beyond the sum of its deltas. Rows are added up, and
    only where the sums differ looked at one by one.
    """
    compared = 0
    for table in _TABLES:
        names = [name for name in state.images if name[0] == table.prefix]
        rest = 0
        for name in names:
            rest += hash(b"".join(_plain(table, _right(partition, name, state, drift))))
        columns = tuple(_plain(table, table.columns))
        for row in _rows(connection, table, columns, partition):
            compared += 1
            rest -= hash(row[2:])
        if rest or not _have_extras(connection, table, partition, state):
            _name(connection, table, partition, state, drift, set(names), findings)
    return compared


def _plain(table: _Table, values: Sequence[T]) -> Iterator[T]:
    """All but the jsonb, which Postgres writes in its own way."""
    pairs = zip(table.columns, values, strict=True)
    return (value for column, value in pairs if column != "extras")


def _have_extras(connection: Connection, table: _Table, partition: int, state: State) -> bool:
    """Whether the extras of those levels that have any are the fold's."""
    if table.check != "levels":
        return True
    rows = connection.execute(
        """
        SELECT sku, location, extras::text
        FROM levels
        WHERE partition = %(partition)s
          AND extras <> '{}'
        """,
        {"partition": partition},
    )
    there = {level_field(sku, location): _decode(extras) for sku, location, extras in rows}
    return there == {
        key: _decode(_encode(level.extras))
        for key, level in state.partition.levels.items()
        if level.extras != _NO_EXTRAS
    }


def _name(
    connection: Connection,
    table: _Table,
    partition: int,
    state: State,
    drift: Mapping[str, int],
    unseen: set[str],
    findings: Findings,
) -> None:
    """Say which rows differ."""
    for row in _rows(connection, table, table.columns, partition):
        values = values_of(row)
        name = table.prefix + SEPARATOR.join(
            values[place][4:].decode(errors="replace") for place in table.names
        )
        if name not in unseen:
            findings.add(table.check, f"{subject(name)} follows from no entry")
            continue
        unseen.discard(name)
        columns = _differing(table, values, _right(partition, name, state, drift))
        if columns:
            findings.add(
                table.check,
                f"{subject(name)} has another {columns} than the entries come to",
                state.images[name][0],
            )
    for name in sorted(unseen):
        findings.add(table.check, f"{subject(name)} has no row", state.images[name][0])


def _rows(
    connection: Connection, table: _Table, columns: Sequence[str], partition: int
) -> Iterator[bytes]:
    query = sql.SQL("SELECT {} FROM {} WHERE partition = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(table.check),
        partition,
    )
    return chain.lines(connection, query)


def _right(partition: int, name: str, state: State, drift: Mapping[str, int]) -> Values:
    seq, image = state.images[name]
    key = name[1:]
    if name[0] == "l":
        level = state.partition.levels[key]
        folded = level.on_hand - drift.get(key, 0)
        return level_values(partition, seq, key.encode(), level, image, folded)
    if name[0] == "r":
        reservation = state.partition.reservations.get(key) or decode_reservation(image)
        return reservation_values(partition, seq, key, reservation, image)
    return order_values(partition, seq, key, image)


def _differing(table: _Table, there: list[bytes], right: Values) -> str:
    return ", ".join(
        column
        for column, mine, other in zip(table.columns, right, there, strict=True)
        if mine != other and not (column == "extras" and _document(mine) == _document(other))
    )


def _document(jsonb: bytes) -> Any:
    """A jsonb's content."""
    return _decode(jsonb[5:])
