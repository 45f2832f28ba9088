"""Checkpoints of an event stream: how far the ledger has all that came of its events.

An acknowledged event is in Redis, but not yet in the ledger. So a checkpoint names Redis's latest
entry of then, and is saved when the ledger has that very entry. While a replay is pending, for a
rebuild or a suspected loss, nothing moves on: acknowledged events may have been lost.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct, structs
from psycopg import AsyncConnection


class PendingReplay(Struct, frozen=True):
    """A replay that is due: for the rebuilds up to an epoch's (0: for none), and for so many
    suspected losses in all."""

    epoch: int
    losses: int


class Checkpoint(Struct, frozen=True):
    """A place on a stream: all events acknowledged up to it had left their entries in Redis by the
    entry `entry_seq` of `epoch`.

    `created_at` tells the stream from another of its name. `replay` is the replay of `events`
    events that came as far; None if they were acknowledged.
    """

    stream: str
    created_at: datetime
    seq: int
    epoch: int
    entry_seq: int
    digest: str
    replay: PendingReplay | None = None
    events: int = 0


_LOSSES_REPLAYED = """
UPDATE positions
SET replayed_losses = greatest(replayed_losses, %(losses)s)
WHERE partition = %(partition)s
"""
_REBUILDS_REPLAYED = """
UPDATE rebuilds
SET replayed_at = now(),
    report = report || jsonb_build_object('events_replayed', %(events)s::bigint)
WHERE partition = %(partition)s AND epoch <= %(epoch)s AND replayed_at IS NULL
"""
_SAVE = """
INSERT INTO streams_recorded (partition, stream, created_at, seq)
SELECT %(partition)s, %(stream)s, %(created_at)s, %(seq)s
WHERE NOT EXISTS (SELECT FROM rebuilds WHERE partition = %(partition)s AND replayed_at IS NULL)
  AND NOT EXISTS (
    SELECT FROM positions
    WHERE partition = %(partition)s AND suspected_losses > replayed_losses
)
ON CONFLICT (partition, stream) DO UPDATE
SET created_at = excluded.created_at,
    seq = excluded.seq,
    noted_at = now()
"""


async def recorded_through(
    connection: AsyncConnection[Any], partition: int, stream: str, created_at: datetime
) -> int:
    """The stream's last event before which none can be missing here; 0 if none is known."""
    cursor = await connection.execute(
        """
        SELECT seq
        FROM streams_recorded
        WHERE partition = %s AND stream = %s AND created_at = %s
        """,
        (partition, stream, created_at),
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def pending_replay(connection: AsyncConnection[Any], partition: int) -> PendingReplay | None:
    """The replay that is due by now; None if none is."""
    cursor = await connection.execute(
        """
        SELECT coalesce(max(rebuilds.epoch), 0), suspected_losses
        FROM positions
        LEFT JOIN rebuilds
          ON rebuilds.partition = positions.partition
         AND replayed_at IS NULL
        WHERE positions.partition = %s
        GROUP BY positions.partition
        HAVING suspected_losses > replayed_losses OR max(rebuilds.epoch) IS NOT NULL
        """,
        (partition,),
    )
    row = await cursor.fetchone()
    return PendingReplay(*row) if row else None


async def save(connection: AsyncConnection[Any], partition: int, checkpoint: Checkpoint) -> bool:
    """Save the checkpoint, and that its replay is done; False while the ledger lacks its entry."""
    fields = {"partition": partition, **structs.asdict(checkpoint)}
    has_entry = """
        SELECT FROM entries
        WHERE (partition, seq, digest) = (%(partition)s, %(entry_seq)s, %(digest)s)
    """
    if checkpoint.replay is not None and checkpoint.entry_seq == 0:
        # A replay may leave no entry in an empty Redis; then the ledger must have none either.
        has_entry = "SELECT FROM positions WHERE partition = %(partition)s AND seq = 0"
    async with connection.transaction():
        if not (await connection.execute(has_entry, fields)).rowcount:
            return False
        if checkpoint.replay is not None:
            # All that was due when it began. The position first, as a rebuild does.
            fields |= structs.asdict(checkpoint.replay)
            await connection.execute(_LOSSES_REPLAYED, fields)
            await connection.execute(_REBUILDS_REPLAYED, fields)
        await connection.execute(_SAVE, fields)
    return True
