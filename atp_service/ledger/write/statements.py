"""What a batch writes, table by table: each statement takes its rows as columns.

Appended tables are written by COPY where there is a backlog; the statement is for the few rows of
a quiet moment, when it saves the round trips, and for events that may be there already.
"""

from typing import NamedTuple


class Statement(NamedTuple):
    """`types` are those of the columns it takes, in order."""

    types: tuple[str, ...]
    text: str


def _statement(types: str, text: str) -> Statement:
    names = tuple(types.split())
    columns = ", ".join(f"%s::{name}[]" for name in names)
    return Statement(names, text.replace("unnest()", f"unnest({columns})"))


ENTRIES = _statement(
    "int4 int8 int8 timestamptz text bytea bytea bytea text bytea",
    "INSERT INTO entries SELECT * FROM unnest()",
)
MOVEMENTS = _statement(
    "int4 int8 int8 int8 int8 int8 int8 int8 timestamptz timestamptz int8 text text text",
    "INSERT INTO movements SELECT * FROM unnest()",
)
TRACES = _statement("int4 int8 text", "INSERT INTO traces SELECT * FROM unnest()")

# An event is in the ledger once, as it came first.
EVENTS = _statement(
    "int4 int8 text text text",
    "INSERT INTO events SELECT * FROM unnest() ON CONFLICT DO NOTHING",
)

LEVELS = _statement(
    "int4 int8 int8 int8 int8 int8 int8 int8 timestamptz int8 text text jsonb bytea int8",
    """
    INSERT INTO levels
    SELECT * FROM unnest()
    ON CONFLICT (sku, location) DO UPDATE
    SET partition = excluded.partition,
        seq = excluded.seq,
        version = excluded.version,
        moves = excluded.moves,
        on_hand = excluded.on_hand,
        reserved = excluded.reserved,
        allocated = excluded.allocated,
        unavailable = excluded.unavailable,
        updated_at = excluded.updated_at,
        safety_stock = excluded.safety_stock,
        extras = excluded.extras,
        document = excluded.document,
        folded = levels.folded + excluded.folded
    """,
)
SNAPSHOT_LINES = _statement(
    "int4 int8 int8 int8 timestamptz text text text text",
    "INSERT INTO snapshot_lines SELECT * FROM unnest()",
)
RESERVATIONS = _statement(
    "int4 int8 timestamptz timestamptz text text text bytea bool",
    """
    INSERT INTO reservations
    SELECT * FROM unnest()
    ON CONFLICT (reservation_id) DO UPDATE
    SET partition = excluded.partition,
        seq = excluded.seq,
        expires_at = excluded.expires_at,
        closed_at = excluded.closed_at,
        status = excluded.status,
        order_id = excluded.order_id,
        document = excluded.document,
        in_redis = excluded.in_redis
    """,
)
ORDERS = _statement(
    "int4 int8 text bytea bool",
    """
    INSERT INTO orders
    SELECT * FROM unnest()
    ON CONFLICT (order_id) DO UPDATE
    SET partition = excluded.partition,
        seq = excluded.seq,
        document = excluded.document,
        in_redis = excluded.in_redis
    """,
)

# What Redis no longer has. A level goes by a repair alone; of the others the last image stays.
GONE_LEVELS = _statement(
    "text text",
    """
    DELETE FROM levels
    USING unnest() AS gone (sku, location)
    WHERE (levels.sku, levels.location) = (gone.sku, gone.location)
    """,
)
GONE_RESERVATIONS = _statement(
    "int8 text",
    """
    UPDATE reservations
    SET seq = gone.seq,
        in_redis = false
    FROM unnest() AS gone (seq, reservation_id)
    WHERE reservations.reservation_id = gone.reservation_id
    """,
)
GONE_ORDERS = _statement(
    "int8 text",
    """
    UPDATE orders
    SET seq = gone.seq,
        in_redis = false
    FROM unnest() AS gone (seq, order_id)
    WHERE orders.order_id = gone.order_id
    """,
)

# A case without a count only settles what is open. Its row, if there is none, is not made.
EXCEPTIONS = _statement(
    "int4 int8 int8 text text text text text text int8 text int8"
    " timestamptz timestamptz timestamptz",
    """
    WITH told AS MATERIALIZED (
        SELECT *
        FROM unnest() AS told (
            partition, first_seq, last_seq, kind, owner, sku, location, reference, status,
            units, detail, count, first_at, last_at, settled_at
        )
    ), settled AS (
        UPDATE exceptions
        SET status = 'settled',
            units = told.units,
            settled_at = told.settled_at
        FROM told
        WHERE told.count = 0
          AND exceptions.status = 'open'
          AND (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
               exceptions.reference)
            = (told.kind, told.owner, told.sku, told.location, told.reference)
    )
    INSERT INTO exceptions (
        partition, first_seq, last_seq, kind, owner, sku, location, reference, status,
        units, detail, count, first_at, last_at, settled_at
    )
    SELECT * FROM told
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
    "int4 int8 text text text bytea timestamptz text text text",
    """
    INSERT INTO parked
    SELECT
        told.partition, told.seq, exceptions.id, told.source, told.event_id,
        told.detail, told.payload, told.at
    FROM unnest() AS told (
        partition, seq, source, event_id, detail, payload, at, kind, owner, reference
    )
    JOIN exceptions
      ON (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
          exceptions.reference)
       = (told.kind, told.owner, '', '', told.reference)
     AND exceptions.status <> 'resolved'
    """,
)
