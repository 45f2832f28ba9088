"""Levels, reservations and orders beside the last images: every row, every column, to the byte."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain as chained
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection, sql

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION
from atp_service.inventory.reservations import decode_standing
from atp_service.inventory.stock import SEPARATOR, Extras, decode_level, level_field
from atp_service.ledger.read import raw_entries
from atp_service.ledger.tables import LEVELS, ORDERS, RESERVATIONS
from atp_service.ledger.write.rows import (
    Values,
    level_values,
    order_values,
    reservation_values,
)
from atp_service.postgres.binary import as_json, values_of
from atp_service.verify.decoded_entry import UNREADABLE, subject
from atp_service.verify.findings import Check, Findings
from atp_service.verify.folded_state import LastImage

_NO_EXTRAS = Extras()
_decode = msgspec.json.Decoder().decode


class _Projection(NamedTuple):
    """A projection. `names` are the places of the columns that make up an image's name."""

    check: Check
    kind: str
    columns: tuple[str, ...]
    names: tuple[int, ...]


_LEVELS = _Projection("levels", LEVEL, LEVELS.columns, LEVELS.places(*LEVELS.key))
_RESERVATIONS = _Projection(
    "reservations", RESERVATION, RESERVATIONS.columns, RESERVATIONS.places(*RESERVATIONS.key)
)
_ORDERS = _Projection("orders", ORDER, ORDERS.columns, ORDERS.places(*ORDERS.key))
_TABLES = (_LEVELS, _RESERVATIONS, _ORDERS)


Images = Mapping[str, LastImage]


def compare(
    connection: Connection,
    partition: int,
    images: Images,
    drift: Mapping[str, int],
    findings: Findings,
) -> int:
    """How many rows there are; those that differ from the last images become findings.

    `images` are a FoldedState's. `drift` is by how much each level's
    on_hand is more than the sum of its deltas.
    """
    return sum(_compare(connection, table, partition, images, drift, findings) for table in _TABLES)


def _compare(
    connection: Connection,
    table: _Projection,
    partition: int,
    images: Images,
    drift: Mapping[str, int],
    findings: Findings,
) -> int:
    """Hashes of rows are added up; only if the sums differ, rows are looked at one by one. The
    jsonb is left out: Postgres writes it in its own way."""
    names = [
        name
        for name, (_, _, in_redis) in images.items()
        # The row of a level goes with it; of the others the last image stays.
        if name[0] == table.kind and (in_redis or table is not _LEVELS)
    ]
    columns, compared, rest = table.columns, 0, 0
    if table is _LEVELS:
        left_out = columns.index("extras")
        columns = columns[:left_out] + columns[left_out + 1 :]
    for name in names:
        try:
            values = _right(partition, name, images, drift)
        except UNREADABLE as fault:
            words = f"{subject(name)} can't be a row ({fault})"
            findings.add(table.check, words, images[name][0], (name,))
            continue
        if table is _LEVELS:
            values = values[:left_out] + values[left_out + 1 :]
        rest += hash(b"".join(values))
    for block in _blocks(connection, table, columns, partition):
        compared += len(block)
        rest -= sum([hash(row[2:]) for row in block])
    if rest or (table is _LEVELS and not _have_extras(connection, partition, images)):
        _name(connection, table, partition, images, drift, set(names), findings)
    return compared


def _have_extras(connection: Connection, partition: int, images: Images) -> bool:
    """Whether the extras of those levels that have any are those of the images."""
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
        name[1:]: _decode(as_json(level.extras))
        for name, (_, image, in_redis) in images.items()
        if name[0] == LEVEL and in_redis and (level := decode_level(image)).extras != _NO_EXTRAS
    }


def _name(
    connection: Connection,
    table: _Projection,
    partition: int,
    images: Images,
    drift: Mapping[str, int],
    unseen: set[str],
    findings: Findings,
) -> None:
    """Say which rows differ."""
    for row in chained.from_iterable(_blocks(connection, table, table.columns, partition)):
        values = values_of(row)
        name = table.kind + SEPARATOR.join(
            values[place][4:].decode(errors="replace") for place in table.names
        )
        if name not in unseen:
            findings.add(table.check, f"{subject(name)} follows from no entry")
            continue
        unseen.discard(name)
        try:
            right = _right(partition, name, images, drift)
        except UNREADABLE:
            continue  # it is a finding already
        columns = _differing(table, values, right)
        if columns:
            findings.add(
                table.check,
                f"{subject(name)} has another {columns} than the entries come to",
                images[name][0],
            )
    for name in sorted(unseen):
        findings.add(table.check, f"{subject(name)} has no row", images[name][0])


def _blocks(
    connection: Connection, table: _Projection, columns: Sequence[str], partition: int
) -> Iterator[list[bytes]]:
    query = sql.SQL("SELECT {} FROM {} WHERE partition = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table.check), partition
    )
    return raw_entries.blocks(connection, query)


def _right(partition: int, name: str, images: Images, drift: Mapping[str, int]) -> Values:
    seq, image, in_redis = images[name]
    key = name[1:]
    if name[0] == LEVEL:
        level = decode_level(image)
        folded = level.on_hand - drift.get(key, 0)
        return level_values(partition, seq, key, level, image, folded)
    if name[0] == RESERVATION:
        return reservation_values(
            partition, seq, key, decode_standing(image), image, in_redis=in_redis
        )
    return order_values(partition, seq, key, image, in_redis=in_redis)


def _differing(table: _Projection, there: list[bytes], right: Values) -> str:
    return ", ".join(
        column
        for column, mine, other in zip(table.columns, right, there, strict=True)
        if mine != other and not (column == "extras" and _document(mine) == _document(other))
    )


def _document(jsonb: bytes) -> Any:
    """A jsonb's content."""
    return _decode(jsonb[5:])
