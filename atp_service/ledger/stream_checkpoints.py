"""How far an event stream is in the ledger, and what it has to be replayed for.

What is acknowledged on the stream is in Redis by then, but not yet here. So it is noted beside the
entry that was Redis's latest afterwards, and counts when the ledger has that very entry. While a
replay is still to come, for a rebuild or for a doubt, nothing is noted: what was acknowledged may
have been lost.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection


class Mark(Struct, frozen=True):
    """A place on a stream: all that was acknowledged up to it had left its entry in Redis by the
    entry `entry_seq`. `created_at` tells the stream from another of its name."""

    stream: str
    created_at: datetime
    seq: int
    entry_seq: int
    digest: str


class Due(Struct, frozen=True):
    """A replay that is still to come: for the rebuilds up to this epoch's, 0 without one, and for
    so many of the doubts there have been."""

    epoch: int
    doubts: int


async def recorded_through(
    connection: AsyncConnection[Any], partition: int, stream: str, created_at: datetime
) -> int:
    """The stream's last event before which none can be missing here; 0 where nothing is known."""
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


async def to_replay_for(connection: AsyncConnection[Any], partition: int) -> Due | None:
    """The replay that is due by now; None where none is."""
    cursor = await connection.execute(
        """
        SELECT coalesce(max(rebuilds.epoch), 0), doubts
        FROM positions
        LEFT JOIN rebuilds
          ON rebuilds.partition = positions.partition
         AND replayed_at IS NULL
        WHERE positions.partition = %s
        GROUP BY positions.partition
        HAVING doubts > doubts_settled OR max(rebuilds.epoch) IS NOT NULL
        """,
        (partition,),
    )
    row = await cursor.fetchone()
    return Due(*row) if row else None


async def replayed(
    connection: AsyncConnection[Any], partition: int, mark: Mark, due: Due, events: int
) -> bool:
    """Up to the mark the stream has been replayed for what was due before it began; False while
    the ledger lacks what came of it."""
    async with connection.transaction():
        if not await _has_what_redis_had(connection, partition, mark):
            return False
        # The position first, as a rebuild does.
        await connection.execute(
            """
            UPDATE positions
            SET doubts_settled = greatest(doubts_settled, %(doubts)s)
            WHERE partition = %(partition)s
            """,
            {"partition": partition, "doubts": due.doubts},
        )
        await connection.execute(
            """
            UPDATE rebuilds
            SET replayed_at = now(),
                report = report || jsonb_build_object('events_replayed', %(events)s::bigint)
            WHERE partition = %(partition)s AND epoch <= %(epoch)s AND replayed_at IS NULL
            """,
            {"partition": partition, "epoch": due.epoch, "events": events},
        )
        await _note(connection, partition, mark)
    return True


async def acknowledged(connection: AsyncConnection[Any], partition: int, mark: Mark) -> bool:
    """What was acknowledged up to the mark is here; False while the ledger lacks the entry."""
    async with connection.transaction():
        if not await _has_entry(connection, partition, mark):
            return False
        await _note(connection, partition, mark)
    return True


async def _has_what_redis_had(connection: AsyncConnection[Any], partition: int, mark: Mark) -> bool:
    """The entry; where Redis had none, and nothing came of the replay, no more than nothing."""
    if mark.entry_seq != 0:
        return await _has_entry(connection, partition, mark)
    cursor = await connection.execute(
        "SELECT FROM positions WHERE partition = %s AND seq = 0", (partition,)
    )
    return await cursor.fetchone() is not None


async def _has_entry(connection: AsyncConnection[Any], partition: int, mark: Mark) -> bool:
    cursor = await connection.execute(
        "SELECT FROM entries WHERE partition = %s AND seq = %s AND digest = %s",
        (partition, mark.entry_seq, mark.digest),
    )
    return await cursor.fetchone() is not None


async def _note(connection: AsyncConnection[Any], partition: int, mark: Mark) -> None:
    await connection.execute(
        """
        INSERT INTO streams_recorded (partition, stream, created_at, seq)
        SELECT %(partition)s, %(stream)s, %(created_at)s, %(seq)s
        WHERE NOT EXISTS (
            SELECT FROM rebuilds WHERE partition = %(partition)s AND replayed_at IS NULL
        )
          AND NOT EXISTS (
            SELECT FROM positions WHERE partition = %(partition)s AND doubts > doubts_settled
        )
        ON CONFLICT (partition, stream) DO UPDATE
        SET created_at = excluded.created_at,
            seq = excluded.seq,
            noted_at = now()
        """,
        {
            "partition": partition,
            "stream": mark.stream,
            "created_at": mark.created_at,
            "seq": mark.seq,
        },
    )
