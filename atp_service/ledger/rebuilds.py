"""Rebuilds in the ledger: one at a time, each with an epoch and the saved entries of its fork.

A fork's commands are kept until a rebuild that has applied them again has opened. If one dies in
between, the next finds them here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import msgspec
import psycopg
from msgspec import Struct, structs
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from atp_service.inventory.journal import Entry, encode_images
from atp_service.ledger.position import Position, Stale
from atp_service.ledger.write.appender import RECORDED
from atp_service.postgres.cursors import pages
from atp_service.postgres.leases import leased
from atp_service.postgres.unavailable import unavailable_when_away

_ALIVE_EVERY_SECONDS: Final = 2.0


class Rebuild(Struct, frozen=True):
    """A rebuild that has raised the epoch; `from_seq` is the ledger's last entry before it."""

    epoch: int
    from_seq: int


class ForkEntry(Struct, frozen=True):
    """An entry of a fork, as it was saved; `epoch` is the one raised because of it."""

    epoch: int
    seq: int
    digest: str
    command: bytes
    head: bytes
    images: bytes


class Missing(Struct, frozen=True):
    """Entries that are missing from the fork's own journal. `before` is the digest of the entry
    that follows them; empty if none does."""

    first: int
    last: int
    before: str


class Fork(Protocol):
    """What a Redis has beyond the ledger. `missing` is known when all pages have been read."""

    @property
    def missing(self) -> list[Missing]: ...

    def pages(self) -> AsyncIterator[Sequence[Entry]]: ...


def only_rebuild(
    url: str, partition: int
) -> AbstractAsyncContextManager[AsyncConnection[Any] | None]:
    """The connection that has the right to rebuild; None while another process has it."""
    return leased(url, "rebuild", partition)


async def keep_alive(right: AsyncConnection[Any]) -> None:
    """Show that this rebuilder lives, for ever; raises Unavailable when the right is gone."""
    while True:
        with unavailable_when_away():
            await right.execute("SELECT 1")
        await asyncio.sleep(_ALIVE_EVERY_SECONDS)


@asynccontextmanager
async def session(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection for long work. Raises Unavailable, whenever Postgres goes away."""
    with unavailable_when_away():
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        async with connection:
            yield connection


async def digests(
    connection: AsyncConnection[Any], partition: int, seqs: Sequence[int]
) -> dict[int, str]:
    """The ledger's entries' digests, of those seqs that it has."""
    cursor = await connection.execute(
        "SELECT seq, digest FROM entries WHERE partition = %s AND seq = ANY(%s)",
        (partition, list(seqs)),
    )
    return dict(await cursor.fetchall())


async def raise_epoch(
    connection: AsyncConnection[Any], partition: int, position: Position, reason: str, fork: Fork
) -> Rebuild:
    """Begin the next epoch from exactly this position, with the fork's own entries saved, and what
    it lacks noted: all of it, or nothing. Raises Stale if the ledger has moved on."""
    fields = {"partition": partition, "reason": reason, **structs.asdict(position)}
    async with connection.transaction():
        moved = await connection.execute(
            """
            UPDATE positions
            SET epoch = epoch + 1
            WHERE (partition, epoch, seq, digest)
                = (%(partition)s, %(epoch)s, %(seq)s, %(digest)s)
            """,
            fields,
        )
        if not moved.rowcount:
            raise Stale(f"the ledger is no longer at entry {position.seq}")
        begun = Rebuild(position.epoch + 1, position.seq)
        await _save(connection, partition, begun.epoch, fork.pages())
        report = Jsonb({"missing": [structs.asdict(missing) for missing in fork.missing]})
        await connection.execute(
            """
            INSERT INTO rebuilds (partition, epoch, from_seq, reason, report)
            VALUES (%(partition)s, %(epoch)s, %(seq)s, %(reason)s, %(report)s)
            """,
            fields | {"epoch": begun.epoch, "report": report},
        )
        # A caller that waits for an entry waits for its epoch too.
        payload = f"{partition} {begun.epoch} {position.seq}"
        await connection.execute("SELECT pg_notify(%s, %s)", (RECORDED, payload))
    return begun


async def _save(
    connection: AsyncConnection[Any],
    partition: int,
    epoch: int,
    fork: AsyncIterator[Sequence[Entry]],
) -> None:
    """What a rebuild that was broken off has saved before is not saved again."""
    cursor = await connection.execute(
        """
        SELECT digest
        FROM forks
        JOIN rebuilds USING (partition, epoch)
        WHERE partition = %s AND opened_at IS NULL
        """,
        (partition,),
    )
    known = {digest for (digest,) in await cursor.fetchall()}
    statement = "COPY forks (partition, epoch, seq, digest, command, head, images) FROM STDIN"
    async with connection.cursor().copy(f"{statement} (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "int8", "int8", "text", "bytea", "bytea", "bytea"])
        async for entries in fork:
            for entry in entries:
                if entry.digest not in known:
                    images = encode_images(entry.images)
                    values = (entry.seq, entry.digest, entry.command, entry.head, images)
                    await copy.write_row((partition, epoch, *values))


async def unopened_forks(
    connection: AsyncConnection[Any], partition: int
) -> AsyncIterator[list[ForkEntry]]:
    """What forks had acknowledged and no rebuild that has opened has applied again; in order."""
    query = """
        SELECT epoch, seq, digest, command, head, images
        FROM forks
        JOIN rebuilds USING (partition, epoch)
        WHERE partition = %s AND opened_at IS NULL
        ORDER BY epoch, seq
    """
    async for rows in pages(connection, query, (partition,)):
        yield [ForkEntry(*row) for row in rows]


async def missing_of_forks(connection: AsyncConnection[Any], partition: int) -> list[Missing]:
    """What those forks had lost themselves."""
    cursor = await connection.execute(
        """
        SELECT report -> 'missing'
        FROM rebuilds
        WHERE partition = %s AND opened_at IS NULL AND report ? 'missing'
        ORDER BY epoch
        """,
        (partition,),
    )
    return [
        msgspec.convert(missing, Missing) for (lost,) in await cursor.fetchall() for missing in lost
    ]


async def commands_since_fork(
    connection: AsyncConnection[Any], partition: int
) -> AsyncIterator[list[bytes]]:
    """Commands recorded since the first of the rebuilds that have not opened."""
    query = """
        SELECT command
        FROM entries
        WHERE partition = %(partition)s
          AND seq > (
              SELECT min(from_seq)
              FROM rebuilds
              WHERE partition = %(partition)s AND opened_at IS NULL
          )
        ORDER BY seq
    """
    async for rows in pages(connection, query, {"partition": partition}):
        yield [command for (command,) in rows]


async def opened(
    connection: AsyncConnection[Any], partition: int, epoch: int, report: dict[str, Any]
) -> None:
    """The partition is open in this epoch, and with it those rebuilds that were broken off."""
    await connection.execute(
        """
        UPDATE rebuilds
        SET opened_at = coalesce(opened_at, now()),
            report = CASE
                WHEN epoch = %(epoch)s THEN report || %(report)s
                ELSE report || jsonb_build_object('finished_in_epoch', %(epoch)s::bigint)
            END
        WHERE partition = %(partition)s
          AND epoch <= %(epoch)s
          AND (opened_at IS NULL OR epoch = %(epoch)s AND %(report)s <> '{}'::jsonb)
        """,
        {"partition": partition, "epoch": epoch, "report": Jsonb(report)},
    )
