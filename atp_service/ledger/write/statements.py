"""What a batch writes, table by table: each statement takes its rows as columns.

Appended tables are written by COPY if there is a backlog; the statement is for the few rows of
a quiet moment, when it saves the round trips, and for events that may be there already.
"""

from typing import NamedTuple

from atp_service.ledger import tables
from atp_service.ledger.tables import Table


class Statement(NamedTuple):
    """`types` are those of the columns it takes, in order."""

    types: tuple[str, ...]
    text: str


def _statement(table: Table, text: str) -> Statement:
    """`{rows}` in the text are the rows, `{columns}` the table's columns."""
    rows = ", ".join(f"%s::{name}[]" for name in table.types)
    return Statement(
        table.types, text.format(rows=f"unnest({rows})", columns=", ".join(table.columns))
    )


def _insert(table: Table, otherwise: str = "") -> Statement:
    return _statement(table, f"INSERT INTO {table.name} SELECT * FROM {{rows}} {otherwise}")  # noqa: S608  # names of ours


def _upsert(table: Table, **otherwise: str) -> Statement:
    """A row that is there already takes all values of the new one, or those of `otherwise`."""
    values = ", ".join(
        f"{column} = {otherwise.get(column, f'excluded.{column}')}"
        for column in table.columns
        if column not in table.key
    )
    return _insert(table, f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {values}")


def _let_go(table: Table) -> Statement:
    """Redis no longer has it; its last image stays. Takes the partition, the entry and the key."""
    (key,) = table.key
    return _statement(
        table.only("partition", "seq", key),
        f"""
        UPDATE {table.name}
        SET seq = gone.seq,
            in_redis = false
        FROM {{rows}} AS gone ({{columns}})
        WHERE ({table.name}.partition, {table.name}.{key}) = (gone.partition, gone.{key})
        """,  # noqa: S608  # names of ours
    )


ENTRIES = _insert(tables.ENTRIES)
MOVEMENTS = _insert(tables.MOVEMENTS)
TRACES = _insert(tables.TRACES)
SNAPSHOT_LINES = _insert(tables.SNAPSHOT_LINES)
EVENTS = _insert(tables.EVENTS, "ON CONFLICT DO NOTHING")  # once, as it came first

LEVELS = _upsert(tables.LEVELS, folded="levels.folded + excluded.folded")
RESERVATIONS = _upsert(tables.RESERVATIONS)
ORDERS = _upsert(tables.ORDERS)

# A level goes by a repair alone.
GONE_LEVELS = _statement(
    tables.LEVELS.only("partition", "sku", "location"),
    """
    DELETE FROM levels
    USING {rows} AS gone ({columns})
    WHERE (levels.partition, levels.sku, levels.location)
        = (gone.partition, gone.sku, gone.location)
    """,
)
GONE_RESERVATIONS = _let_go(tables.RESERVATIONS)
GONE_ORDERS = _let_go(tables.ORDERS)

# A case without a count only settles an open exception. Its row, if there is none, is not made.
EXCEPTIONS = _statement(
    tables.EXCEPTIONS,
    """
    WITH sent AS MATERIALIZED (
        SELECT *
        FROM {rows} AS sent ({columns})
    ), settled AS (
        UPDATE exceptions
        SET status = 'settled',
            units = sent.units,
            settled_at = sent.settled_at
        FROM sent
        WHERE sent.count = 0
          AND exceptions.status = 'open'
          AND (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
               exceptions.reference)
            = (sent.kind, sent.owner, sent.sku, sent.location, sent.reference)
    )
    INSERT INTO exceptions ({columns})
    SELECT * FROM sent
    WHERE count > 0
    ORDER BY first_seq
    ON CONFLICT (kind, owner, sku, location, reference) WHERE status <> 'resolved' DO UPDATE
    SET status = excluded.status,
        units = excluded.units,
        detail = excluded.detail,
        count = exceptions.count + excluded.count,
        last_at = excluded.last_at,
        settled_at = excluded.settled_at,
        last_seq = excluded.last_seq
    """,
)
PARKED = _statement(
    tables.PARKED,
    """
    INSERT INTO parked
    SELECT
        sent.partition, sent.seq, exceptions.id, sent.source, sent.event_id,
        sent.detail, sent.payload, sent.at
    FROM {rows} AS sent ({columns})
    JOIN exceptions
      ON (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
          exceptions.reference)
       = (sent.kind, sent.owner, '', '', sent.reference)
     AND exceptions.status <> 'resolved'
    """,
)
