"""The recorder's hand in the ledger: one lease, one connection, a whole batch or nothing.

The position decides. A batch is written only if the position is still the one it continues, so
however many recorders there are and however stale one is, each entry is written once, in order.
The lease (an advisory lock on the writing connection) only saves them the trouble of trying.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from atp_service.ledger.binary import table
from atp_service.ledger.position import Position, Refused, Stale, read_position
from atp_service.ledger.rows import Batch
from atp_service.ledger.unavailable import unavailable_when_away

SLICE_SIZE = 5_000_000
RECORDED = "atp_recorded"  # the channel; its payload is "<partition> <epoch> <seq>"

# A frozen holder must not keep the lease: Postgres ends a session that is silent for so long.
SILENCE_SECONDS = 10
_SESSION = f"""
SET idle_session_timeout = '{SILENCE_SECONDS}s';
SET idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s';
SET statement_timeout = '60s';
SET synchronous_commit = on;
"""

_STAGING = """
CREATE TEMPORARY TABLE staged_events (LIKE events) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE staged_levels (LIKE levels) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE staged_reservations (LIKE reservations) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE staged_orders (LIKE orders) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE staged_exceptions (
    partition integer, first_seq bigint, last_seq bigint, kind text, owner text, sku text,
    location text, reference text, status text, units bigint, detail text, count bigint,
    first_at timestamptz, last_at timestamptz, settled_at timestamptz
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE staged_parked (
    partition integer, seq bigint, source text, event_id text, detail text, payload bytea,
    at timestamptz, kind text, owner text, reference text
) ON COMMIT DELETE ROWS;
"""

_MOVE_ON = """
UPDATE positions
SET seq = %(seq)s, digest = %(digest)s, chain = %(chain)s, recorded_at = now()
WHERE partition = %(partition)s
  AND epoch = %(epoch)s
  AND seq = %(seq_before)s
  AND digest = %(digest_before)s
  AND chain = %(chain_before)s
"""

_EVENTS = """
INSERT INTO events
SELECT * FROM staged_events
ORDER BY seq
ON CONFLICT DO NOTHING
"""

_LEVELS = """
INSERT INTO levels
SELECT * FROM staged_levels
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
    extras = excluded.extras
"""

_RESERVATIONS = """
INSERT INTO reservations
SELECT * FROM staged_reservations
ON CONFLICT (reservation_id) DO UPDATE
SET partition = excluded.partition,
    seq = excluded.seq,
    expires_at = excluded.expires_at,
    closed_at = excluded.closed_at,
    status = excluded.status,
    order_id = excluded.order_id,
    document = excluded.document
"""

_ORDERS = """
INSERT INTO orders
SELECT * FROM staged_orders
ON CONFLICT (order_id) DO UPDATE
SET partition = excluded.partition,
    seq = excluded.seq,
    document = excluded.document
"""

# A case without a count only settles what is open. Its row, if there is none, is not made.
_EXCEPTIONS = """
INSERT INTO exceptions (
    kind, owner, status, sku, location, reference, units, detail, count,
    first_at, last_at, settled_at, partition, first_seq, last_seq
)
SELECT
    kind, owner, status, sku, location, reference, units, detail, count,
    first_at, last_at, settled_at, partition, first_seq, last_seq
FROM staged_exceptions
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
"""

_SETTLE = """
UPDATE exceptions
SET status = 'settled',
    units = staged.units,
    settled_at = staged.settled_at
FROM staged_exceptions AS staged
WHERE staged.count = 0
  AND exceptions.status = 'open'
  AND (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
       exceptions.reference)
    = (staged.kind, staged.owner, staged.sku, staged.location, staged.reference)
"""

_PARKED = """
INSERT INTO parked
SELECT
    staged.partition, staged.seq, exceptions.id, staged.source, staged.event_id,
    staged.detail, staged.payload, staged.at
FROM staged_parked AS staged
JOIN exceptions
  ON (exceptions.kind, exceptions.owner, exceptions.sku, exceptions.location,
      exceptions.reference)
   = (staged.kind, staged.owner, '', '', staged.reference)
 AND exceptions.status <> 'resolved'
"""


class Appender:
    """Appends batches to one partition, as long as it has the lease."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        partition: int,
        position: Position,
        slice_size: int,
    ) -> None:
        self.partition = partition
        self.position = position
        self._connection = connection
        self._slice_size = slice_size
        self._sliced_through = -1

    async def append(self, batch: Batch) -> None:
        """Write the batch, and tell whoever waits for it.

        `Stale` if the ledger is no longer where the batch begins; `Refused` if it contradicts what
        is there; `Unavailable` if Postgres is away: it may have been written then, or not, and
        the position knows.
        """
        try:
            with unavailable_when_away():
                await self._make_slices(batch.position.seq)
                async with self._connection.transaction():
                    await self._move_on(batch)
                    await self._write(batch)
        except psycopg.Error as error:
            raise Refused(str(error)) from error
        self.position = batch.position

    async def renew(self) -> None:
        """Show that this recorder lives; `Unavailable` if the lease is gone."""
        with unavailable_when_away():
            await self._connection.execute("SELECT 1")

    async def _make_slices(self, through_seq: int) -> None:
        """Half a slice ahead, so that no append ever waits for one."""
        if through_seq <= self._sliced_through:
            return
        ahead = through_seq + self._slice_size // 2
        await self._connection.execute("SELECT make_slices(%s, %s)", (ahead, self._slice_size))
        self._sliced_through = ahead

    async def _move_on(self, batch: Batch) -> None:
        before, position = batch.after, batch.position
        moved = await self._connection.execute(
            _MOVE_ON,
            {
                "partition": self.partition,
                "epoch": before.epoch,
                "seq_before": before.seq,
                "digest_before": before.digest,
                "chain_before": before.chain,
                "seq": position.seq,
                "digest": position.digest,
                "chain": position.chain,
            },
        )
        if moved.rowcount != 1:
            raise Stale(f"the ledger is no longer at entry {before.seq}")

    async def _write(self, batch: Batch) -> None:
        await self._copy("entries", batch.entries)
        await self._copy("movements", batch.movements)
        await self._copy("traces", batch.traces)
        await self._write_events(batch.events)
        for name, rows, statements in (
            ("staged_levels", batch.levels(), [_LEVELS]),
            ("staged_reservations", batch.reservations(), [_RESERVATIONS]),
            ("staged_orders", batch.orders(), [_ORDERS]),
            ("staged_exceptions", batch.exceptions(), [_EXCEPTIONS, _SETTLE]),
            ("staged_parked", batch.parked, [_PARKED]),
        ):
            if rows:
                await self._copy(name, rows)
                for statement in statements:
                    await self._connection.execute(statement)
        told = f"{self.partition} {batch.position.epoch} {batch.position.seq}"
        await self._connection.execute("SELECT pg_notify(%s, %s)", (RECORDED, told))

    async def _write_events(self, rows: Sequence[bytes]) -> None:
        """An event is in the ledger once. That it is there already is so rare (the dedupe window
        was lost) that the way that allows for it, at twice the cost, is only taken then."""
        try:
            async with self._connection.transaction():
                await self._copy("events", rows)
        except UniqueViolation:
            await self._copy("staged_events", rows)
            await self._connection.execute(_EVENTS)

    async def _copy(self, name: str, rows: Sequence[bytes]) -> None:
        if rows:
            statement = f"COPY {name} FROM STDIN (FORMAT BINARY)"
            async with self._connection.cursor().copy(statement) as copy:
                await copy.write(table(rows))


@asynccontextmanager
async def lease(
    url: str, partition: int, *, slice_size: int = SLICE_SIZE
) -> AsyncIterator[Appender | None]:
    """The right to record a partition, on a connection of its own; None while another has it,
    or while nobody has opened the partition yet."""
    with unavailable_when_away():
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        with unavailable_when_away():
            await connection.execute(_SESSION)
            appender = await _take(connection, partition, slice_size)
        try:
            yield appender
        finally:
            # The session's end frees it too, but only some time after we have closed it.
            with suppress(psycopg.Error):
                await connection.execute("SELECT pg_advisory_unlock_all()")


async def _take(
    connection: AsyncConnection[Any], partition: int, slice_size: int
) -> Appender | None:
    cursor = await connection.execute(
        "SELECT pg_try_advisory_lock(hashtext('atp record'), %s)", (partition,)
    )
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    position = await read_position(connection, partition)
    if position is None:
        return None
    await connection.execute(_STAGING)
    return Appender(connection, partition, position, slice_size)
