"""How far a stream is in the ledger: never further than it has all that was acknowledged."""

from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from atp_service.ledger import Ledger, stream_checkpoints
from atp_service.ledger.stream_checkpoints import Due, Mark
from tests.ledger.forged_rows import Writer
from tests.ledger.test_append import append

MADE = datetime(2026, 11, 23, tzinfo=UTC)


async def due(ledger: Ledger, partition: int) -> Due | None:
    async with ledger.connection() as connection:
        return await stream_checkpoints.to_replay_for(connection, partition)


async def place(connection: AsyncConnection[Any], partition: int) -> int:
    return await stream_checkpoints.recorded_through(connection, partition, "EVENTS", MADE)


async def test_another_redis_than_the_last_is_a_doubt_and_the_first_is_none(
    ledger: Ledger, partition: int
) -> None:
    await ledger.open(partition, 1, "the-redis")
    assert await due(ledger, partition) is None
    await ledger.open(partition, 1, "another-redis")
    await ledger.open(partition, 1, "another-redis")
    assert await due(ledger, partition) == Due(0, 1)
    await ledger.open(partition, 1, "the-redis")
    await ledger.doubt(partition)
    assert await due(ledger, partition) == Due(0, 3)
    # In an epoch that is over nobody opens anything.
    await ledger.open(partition, 0, "a-third-redis")
    assert await due(ledger, partition) == Due(0, 3)
    await ledger.begin(partition + 1, 1)
    await ledger.open(partition + 1, 1, "the-redis")
    async with ledger.connection() as connection:
        assert await stream_checkpoints.to_replay_for(connection, partition + 1) is None


async def test_while_there_is_a_doubt_no_place_is_noted(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    seen = Mark("EVENTS", MADE, 7, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.acknowledged(connection, partition, seen)
        assert await place(connection, partition) == 7
    await ledger.doubt(partition)
    later = Mark("EVENTS", MADE, 9, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.acknowledged(connection, partition, later)
        assert await place(connection, partition) == 7


async def test_a_replay_settles_the_doubts_it_began_after(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    await ledger.doubt(partition)
    began = await due(ledger, partition)
    assert began is not None
    await ledger.doubt(partition)
    writer = Writer()
    sale = writer.sale("SKU-1")
    given = Mark("EVENTS", MADE, 9, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.replayed(connection, partition, given, began, 2)
    await append(database_url, partition, sale)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.replayed(connection, partition, given, began, 2)
        assert await place(connection, partition) == 0
    again = await due(ledger, partition)
    assert again == Due(0, 2)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.replayed(connection, partition, given, again, 2)
        # One that was slower settles nothing anew.
        assert await stream_checkpoints.replayed(connection, partition, given, began, 2)
        assert await place(connection, partition) == 9
    assert await due(ledger, partition) is None


async def test_a_redis_without_an_entry_proves_nothing_beside_a_ledger_with_some(
    ledger: Ledger, database_url: str, partition: int
) -> None:
    await ledger.doubt(partition)
    nothing = Mark("EVENTS", MADE, 3, 0, "")
    async with ledger.connection() as connection:
        # What was acknowledged left an entry; what nobody could apply anew may have left none.
        assert not await stream_checkpoints.acknowledged(connection, partition, nothing)
        assert await stream_checkpoints.replayed(connection, partition, nothing, Due(0, 1), 0)
    assert await due(ledger, partition) is None
    await ledger.doubt(partition)
    await append(database_url, partition, Writer().sale("SKU-1"))
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.replayed(connection, partition, nothing, Due(0, 2), 0)
    assert await due(ledger, partition) == Due(0, 2)
