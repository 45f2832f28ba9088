"""How far a stream is in the ledger: never further than it has all that was acknowledged."""

from datetime import UTC, datetime
from typing import Any

from msgspec import structs
from psycopg import AsyncConnection

from atp_service.ledger import Ledger, stream_checkpoints
from atp_service.ledger.stream_checkpoints import Checkpoint, PendingReplay
from tests.ledger.forged_rows import Writer
from tests.ledger.test_append import append

MADE = datetime(2026, 11, 23, tzinfo=UTC)


async def due(ledger: Ledger, partition: int) -> PendingReplay | None:
    async with ledger.connection() as connection:
        return await stream_checkpoints.pending_replay(connection, partition)


async def place(connection: AsyncConnection[Any], partition: int) -> int:
    return await stream_checkpoints.recorded_through(connection, partition, "EVENTS", MADE)


async def test_another_redis_than_the_last_is_a_suspected_loss_and_the_first_is_none(
    ledger: Ledger, partition: int
) -> None:
    await ledger.open(partition, 1, "the-redis")
    assert await due(ledger, partition) is None
    await ledger.open(partition, 1, "another-redis")
    await ledger.open(partition, 1, "another-redis")
    assert await due(ledger, partition) == PendingReplay(0, 1)
    await ledger.open(partition, 1, "the-redis")
    await ledger.suspect_loss(partition)
    assert await due(ledger, partition) == PendingReplay(0, 3)
    # In an epoch that is over nothing is opened.
    await ledger.open(partition, 0, "a-third-redis")
    assert await due(ledger, partition) == PendingReplay(0, 3)
    await ledger.begin(partition + 1, 1)
    await ledger.open(partition + 1, 1, "the-redis")
    async with ledger.connection() as connection:
        assert await stream_checkpoints.pending_replay(connection, partition + 1) is None


async def test_while_a_loss_is_suspected_no_checkpoint_is_saved(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    seen = Checkpoint("EVENTS", MADE, 7, 1, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.save(connection, partition, seen)
        assert await place(connection, partition) == 7
    await ledger.suspect_loss(partition)
    later = Checkpoint("EVENTS", MADE, 9, 1, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.save(connection, partition, later)
        assert await place(connection, partition) == 7


async def test_a_replay_settles_the_suspected_losses_it_began_after(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    await ledger.suspect_loss(partition)
    began = await due(ledger, partition)
    assert began is not None
    await ledger.suspect_loss(partition)
    writer = Writer()
    sale = writer.sale("SKU-1")
    given = Checkpoint("EVENTS", MADE, 9, 1, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.save(
            connection, partition, structs.replace(given, replay=began, events=2)
        )
    await append(database_url, partition, sale)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.save(
            connection, partition, structs.replace(given, replay=began, events=2)
        )
        assert await place(connection, partition) == 0
    again = await due(ledger, partition)
    assert again == PendingReplay(0, 2)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.save(
            connection, partition, structs.replace(given, replay=again, events=2)
        )
        # One that was slower settles nothing anew.
        assert await stream_checkpoints.save(
            connection, partition, structs.replace(given, replay=began, events=2)
        )
        assert await place(connection, partition) == 9
    assert await due(ledger, partition) is None


async def test_a_redis_without_an_entry_proves_nothing_beside_a_ledger_with_some(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    await ledger.suspect_loss(partition)
    nothing = Checkpoint("EVENTS", MADE, 3, 1, 0, "")
    async with ledger.connection() as connection:
        # An acknowledged event left an entry; one that could not be applied anew may have none.
        assert not await stream_checkpoints.save(connection, partition, nothing)
        assert await stream_checkpoints.save(
            connection, partition, structs.replace(nothing, replay=PendingReplay(0, 1))
        )
    assert await due(ledger, partition) is None
    await ledger.suspect_loss(partition)
    await append(database_url, partition, Writer().sale("SKU-1"))
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.save(
            connection, partition, structs.replace(nothing, replay=PendingReplay(0, 2))
        )
    assert await due(ledger, partition) == PendingReplay(0, 2)
