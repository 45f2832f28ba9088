"""The recorder's writes to the ledger: one lease, one connection, a whole batch or nothing.

The position decides. A batch is written only if the position is still the one it continues, so
however many recorders there are and however stale one is, each entry is written once, in order.
The lease (an advisory lock on the writing connection) only saves them the trouble of trying.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from atp_service.ledger.position import Position, Refused, Stale, read_position
from atp_service.ledger.schema import check_ledger
from atp_service.ledger.write.batch import Batch
from atp_service.ledger.write.statements import (
    ENTRIES,
    EVENTS,
    EXCEPTIONS,
    GONE_LEVELS,
    GONE_ORDERS,
    GONE_RESERVATIONS,
    LEVELS,
    MOVEMENTS,
    ORDERS,
    PARKED,
    RESERVATIONS,
    SNAPSHOT_LINES,
    TRACES,
    Statement,
)
from atp_service.postgres.binary import accept_columns, columns, table, values_of
from atp_service.postgres.leases import leased
from atp_service.postgres.unavailable import unavailable_when_away

SLICE_SIZE = 5_000_000
FEW = 64  # entries: up to here round trips cost more than the rows
RECORDED = "atp_recorded"  # the channel; its payload is "<partition> <epoch> <seq>"

_MOVE_ON = """
UPDATE positions
SET seq = %(seq)s, digest = %(digest)s, chain = %(chain)s, recorded_at = now()
WHERE partition = %(partition)s
  AND epoch = %(epoch)s
  AND seq = %(seq_before)s
  AND digest = %(digest_before)s
  AND chain = %(chain_before)s
RETURNING seq
"""


class Appender:
    """Appends batches to one partition, as long as it has the lease."""

    def __init__(
        self, connection: AsyncConnection[Any], partition: int, position: Position, slice_size: int
    ) -> None:
        self.partition = partition
        self.position = position
        self._connection = connection
        self._slice_size = slice_size
        self._sliced_through = -1

    async def append(self, batch: Batch) -> None:
        """Write the batch, and notify the callers that wait for it.

        Raises Stale if the ledger is no longer where the batch begins, Refused if the batch
        contradicts its rows, and Unavailable if Postgres is away: then the position shows whether
        the batch was written.
        """
        try:
            with unavailable_when_away():
                await self._make_slices(batch.position.seq)
                if batch.size <= FEW:
                    await self._append_few(batch)
                else:
                    await self._append_many(batch)
        except psycopg.Error as error:
            raise Refused(str(error)) from error
        self.position = batch.position

    async def position_now(self) -> Position | None:
        """How far the ledger is now, by this recorder or another."""
        with unavailable_when_away():
            return await read_position(self._connection, self.partition)

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
        if await moved.fetchone() is None:
            raise Stale(f"the ledger is no longer at entry {before.seq}")

    async def _append_few(self, batch: Batch) -> None:
        """In two round trips. BEGIN and COMMIT are written out: transaction() adds round trips."""
        try:
            async with self._connection.pipeline():
                await self._connection.execute("BEGIN")
                await self._move_on(batch)
                await self._insert(ENTRIES, batch.entries)
                await self._insert(MOVEMENTS, batch.movements)
                await self._insert(TRACES, batch.traces)
                await self._insert(EVENTS, batch.events)
                await self._project(batch)
                await self._connection.execute("COMMIT")
        except Exception:
            await self._connection.rollback()
            raise

    async def _append_many(self, batch: Batch) -> None:
        """By COPY, which a pipeline does not carry."""
        async with self._connection.transaction():
            await self._move_on(batch)
            await self._copy("entries", batch.entries)
            await self._copy("movements", batch.movements)
            await self._copy("traces", batch.traces)
            await self._copy_events(batch.events)
            async with self._connection.pipeline():
                await self._project(batch)

    async def _project(self, batch: Batch) -> None:
        # A level that goes and comes back in one batch begins anew.
        await self._execute(GONE_LEVELS, batch.gone_levels())
        await self._execute(LEVELS, batch.levels())
        await self._execute(RESERVATIONS, batch.reservations())
        await self._execute(ORDERS, batch.orders())
        await self._execute(GONE_RESERVATIONS, batch.gone_reservations())
        await self._execute(GONE_ORDERS, batch.gone_orders())
        await self._execute(EXCEPTIONS, batch.exceptions())
        await self._insert(PARKED, batch.parked)
        await self._insert(SNAPSHOT_LINES, batch.snapshot_lines)
        position = f"{self.partition} {batch.position.epoch} {batch.position.seq}"
        await self._connection.execute("SELECT pg_notify(%s, %s)", (RECORDED, position))

    async def _copy_events(self, rows: Sequence[bytes]) -> None:
        """An event is there already only if the dedupe window was lost. The statement that allows
        for it costs twice as much, so it is tried second."""
        try:
            async with self._connection.transaction():
                await self._copy("events", rows)
        except UniqueViolation:
            await self._insert(EVENTS, rows)

    async def _copy(self, name: str, rows: Sequence[bytes]) -> None:
        if rows:
            statement = f"COPY {name} FROM STDIN (FORMAT BINARY)"
            async with self._connection.cursor().copy(statement) as copy:
                await copy.write(table(rows))

    async def _insert(self, statement: Statement, rows: Sequence[bytes]) -> None:
        await self._execute(statement, [values_of(row) for row in rows])

    async def _execute(self, statement: Statement, rows: Sequence[Sequence[bytes]]) -> None:
        if rows:
            await self._connection.execute(statement.text, columns(statement.types, rows))


@asynccontextmanager
async def lease(
    url: str, partition: int, *, slice_size: int = SLICE_SIZE
) -> AsyncIterator[Appender | None]:
    """The right to record a partition, on a connection of its own; None while another has it,
    or while the partition is not open yet."""
    async with leased(url, "record", partition) as connection:
        if connection is None:
            yield None
            return
        with unavailable_when_away():
            await check_ledger(connection)
            position = await read_position(connection, partition)
        if position is None:
            yield None
            return
        accept_columns(connection)
        yield Appender(connection, partition, position, slice_size)
