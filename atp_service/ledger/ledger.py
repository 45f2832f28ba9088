"""The ledger, read by the rest of the service. Every method may raise `Unavailable`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from atp_service.gatherer import Gatherer
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.reservations import Reservation, decode_reservation, encode_reservation
from atp_service.ledger.position import GENESIS, NotRecorded, Position, read_position
from atp_service.ledger.schema import check_ledger
from atp_service.ledger.stream_checkpoints import recorded_through
from atp_service.ledger.wait.position import Recorded
from atp_service.ledger.wait.recorded_images import AT_ONCE, recorded_images
from atp_service.postgres import Unavailable
from atp_service.postgres.pool import ImpatientPool

COUNTING_SECONDS = 60.0  # a file may have millions of rows

# Each with the last message parked for it; what follows says which.
EXCEPTIONS: Final = """
SELECT
    id, kind, owner, status, sku, location, reference, units,
    exceptions.detail, count, first_at, last_at, settled_at, note,
    last_parked.source, last_parked.event_id, last_parked.payload
FROM exceptions
LEFT JOIN LATERAL (
    SELECT source, event_id, payload
    FROM parked
    WHERE parked.exception_id = exceptions.id
    ORDER BY seq DESC
    LIMIT 1
) AS last_parked ON true
"""


class ExceptionRow(Struct, frozen=True):
    """An exception: one cause and key, however often it happened.

    `source`, `event_id` and `payload` are those of the last message parked for it; None for an
    exception that the stock itself raised.
    """

    id: int
    kind: str
    owner: str
    status: str
    sku: str
    location: str
    reference: str
    units: int | None
    detail: str
    count: int
    first_at: datetime
    last_at: datetime
    settled_at: datetime | None
    note: str | None
    source: str | None
    event_id: str | None
    payload: bytes | None


class Ledger:
    """Reads the ledger, and opens the row that says how far a partition is recorded."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._postgres = ImpatientPool(pool)
        # For the questions that the modules of `read/` ask.
        self.connection = self._postgres.connection
        self.rows = self._postgres.rows
        self._recorded = Recorded(self._postgres.url)
        self._images: Gatherer[tuple[EntryRef, bytes], bool] = Gatherer(
            partial(recorded_images, self._postgres), at_once=AT_ONCE, unavailable=Unavailable
        )

    async def close(self) -> None:
        """Stop listening. The pool stays open: the caller of the constructor closes it."""
        await self._recorded.close()

    async def position(self, partition: int) -> Position | None:
        """How far the partition is recorded; None if it was never opened."""
        async with self.connection() as connection:
            return await read_position(connection, partition)

    async def begin(self, partition: int, epoch: int) -> bool:
        """Begin the partition in this epoch; False if it has begun before."""
        rows = await self.rows(
            """
            INSERT INTO positions (partition, epoch, seq, digest, chain, run_id)
            VALUES (%(partition)s, %(epoch)s, 0, '', %(genesis)s, '')
            ON CONFLICT DO NOTHING
            RETURNING partition
            """,
            {"partition": partition, "epoch": epoch, "genesis": GENESIS},
        )
        return bool(rows)

    async def open(self, partition: int, epoch: int, run_id: str) -> None:
        """Remember the Redis that the partition was opened with; a Redis may have been used before
        this ledger knew of it. Another one than was opened last is a suspected loss.

        Raises TooOld for a ledger of 0.1.0, and leaves it as it is.
        """
        async with self.connection() as connection:
            await check_ledger(connection)
            await connection.execute(
                """
                INSERT INTO positions (partition, epoch, seq, digest, chain, run_id)
                VALUES (%(partition)s, %(epoch)s, 0, '', %(genesis)s, %(run_id)s)
                ON CONFLICT (partition) DO UPDATE
                SET run_id = excluded.run_id,
                    suspected_losses = positions.suspected_losses
                        + (positions.run_id NOT IN ('', excluded.run_id))::integer
                WHERE positions.epoch = excluded.epoch
                """,
                {"partition": partition, "epoch": epoch, "genesis": GENESIS, "run_id": run_id},
            )

    async def suspect_loss(self, partition: int) -> None:
        """Redis may have lost what it had beyond the ledger: the event stream is replayed."""
        await self.rows(
            """
            UPDATE positions
            SET suspected_losses = suspected_losses + 1
            WHERE partition = %s
            """,
            (partition,),
        )

    async def recorded_through(self, stream: str, created_at: datetime) -> int:
        """The last event of the stream, made then, before which none can be missing in any
        partition; 0 if nothing is known."""
        async with self.connection() as connection:
            cursor = await connection.execute("SELECT partition FROM positions")
            return min(
                [
                    await recorded_through(connection, partition, stream, created_at)
                    for (partition,) in await cursor.fetchall()
                ],
                default=0,
            )

    async def seen_events(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the events (source, id) that the ledger has, whatever their status."""
        rows = await self.rows(
            """
            SELECT source, event_id
            FROM events
            JOIN unnest(%(sources)s::text[], %(ids)s::text[]) AS asked (source, event_id)
                USING (event_id, source)
            """,
            {"sources": [key[0] for key in keys], "ids": [key[1] for key in keys]},
        )
        return set(rows)

    async def statuses_after(
        self, source: str, id_prefix: str, through: Mapping[int, int]
    ) -> dict[str, int]:
        """How many of a source's events whose ids begin so have each status; only of those
        recorded after the seqs of `through`, which are by partition."""
        rows = await self.rows(
            """
            SELECT status, count(*)
            FROM events
            LEFT JOIN unnest(%(partitions)s::integer[], %(seqs)s::bigint[])
                AS before (partition, seq) USING (partition)
            WHERE source = %(source)s
              AND event_id LIKE %(ids)s
              AND events.seq > coalesce(before.seq, 0)
            GROUP BY status
            """,
            {
                "source": source,
                "ids": f"{id_prefix}%",
                "partitions": list(through),
                "seqs": list(through.values()),
            },
            seconds=COUNTING_SECONDS,
        )
        return dict(rows)

    async def deltas_after(
        self, partition: int, asked: Sequence[tuple[str, str, int]]
    ) -> tuple[int, list[int]]:
        """For each (SKU, location, moment in ms) the units by which on_hand changed through what
        happened after the moment; before them the position they are all true for: what the
        journal has beyond it is not in them.

        Nothing happened later than it was entered: a feed's clock may be ahead of ours. The index
        knows one of the two times, so both are asked for, and not the earlier of them.
        """
        skus, locations, moments = zip(*asked, strict=True)
        rows = await self.rows(
            """
            SELECT positions.seq, moved.units
            FROM positions
            CROSS JOIN unnest(%(skus)s::text[], %(locations)s::text[], %(moments)s::bigint[])
                WITH ORDINALITY AS asked (sku, location, at_ms, place)
            CROSS JOIN LATERAL (
                SELECT coalesce(sum(on_hand_delta), 0)::bigint AS units
                FROM movements
                WHERE movements.sku = asked.sku
                  AND movements.location = asked.location
                  AND occurred_at > to_timestamp(asked.at_ms / 1000.0)
                  AND movements.at > to_timestamp(asked.at_ms / 1000.0)
                  AND on_hand_delta <> 0
            ) AS moved
            WHERE partition = %(partition)s
            ORDER BY asked.place
            """,
            {
                "skus": list(skus),
                "locations": list(locations),
                "moments": list(moments),
                "partition": partition,
            },
        )
        if not rows:
            raise Unavailable(f"partition {partition} was never opened")
        return rows[0][0], [units for _, units in rows]

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """The reservation as it was last recorded; None if the ledger has none of this id."""
        rows = await self.rows(
            """
            SELECT document
            FROM reservations
            WHERE reservation_id = %(reservation_id)s
            """,
            {"reservation_id": reservation_id},
        )
        return decode_reservation(rows[0][0]) if rows else None

    async def exceptions(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        status: str | None = None,
        limit: int = 100,
        after: int = 0,
    ) -> list[ExceptionRow]:
        """Exceptions by id, those after the id `after`; None asks for any."""
        rows = await self.rows(
            f"""
            {EXCEPTIONS}
            WHERE id > %(after)s
              AND (%(owner)s::text IS NULL OR owner = %(owner)s)
              AND (%(kind)s::text IS NULL OR kind = %(kind)s)
              AND (%(status)s::text IS NULL OR status = %(status)s)
            ORDER BY id
            LIMIT %(limit)s
            """.encode(),  # a statement of ours
            {"owner": owner, "kind": kind, "status": status, "limit": limit, "after": after},
        )
        return [ExceptionRow(*row) for row in rows]

    async def ping(self) -> None:
        """Return if Postgres responds. Raises Unavailable."""
        await self.rows("SELECT")

    async def wait_for(self, entry: EntryRef, timeout: float) -> None:
        """Return once the ledger has the entry; at once if it is before the first.

        Raises NotRecorded if that takes longer than `timeout` seconds, or if the partition went on
        in a later epoch without the entry.
        """
        if not entry.seq:
            return
        reached = await self._recorded.wait(entry, timeout)
        if reached != entry.epoch and not await self._has_entry(entry):
            raise _missing(entry)

    async def wait_for_answer(
        self, entry: EntryRef, reservation: Reservation, timeout: float
    ) -> None:
        """As `wait_for`, and the entry must be the one that left the reservation so: a Redis that
        was set back gives the same numbers to others. Raises NotRecorded otherwise."""
        await self._recorded.wait(entry, timeout)
        if not await self._images.ask((entry, encode_reservation(reservation))):
            raise _missing(entry)

    async def wait_for_events(
        self,
        through: Sequence[EntryRef],
        events: Sequence[tuple[str, str]],
        timeout: float,
        *,
        shipments: Mapping[tuple[str, str], str],
    ) -> None:
        """As `wait_for`, for all entries of `through`; and each of the events (source, id) must be
        there, however its entry is numbered. Raises NotRecorded otherwise.

        An event of a shipment that had left already has no entry of its own: then the shipment's
        must be there, which `shipments` names.
        """
        for entry in through:
            await self._recorded.wait(entry, timeout)
        missing = set(events) - await self.seen_events(events)
        left = await self._traced({shipments[event] for event in missing if event in shipments})
        missing = {event for event in missing if shipments.get(event) not in left}
        if missing:
            raise NotRecorded(f"{len(missing)} of {len(events)} events are not in the ledger")

    async def _traced(self, refs: Collection[str]) -> set[str]:
        """Those that entries speak of."""
        if not refs:
            return set()
        rows = await self.rows(
            "SELECT DISTINCT ref FROM traces WHERE ref = ANY(%(refs)s)", {"refs": list(refs)}
        )
        return {row[0] for row in rows}

    async def _has_entry(self, entry: EntryRef) -> bool:
        rows = await self.rows(
            """
            SELECT
            FROM entries
            WHERE partition = %(partition)s AND seq = %(seq)s AND epoch = %(epoch)s
            """,
            asdict(entry),
        )
        return bool(rows)


def _missing(entry: EntryRef) -> NotRecorded:
    return NotRecorded(
        f"entry {entry.seq} of partition {entry.partition}, epoch {entry.epoch}, "
        "is not in the ledger"
    )
