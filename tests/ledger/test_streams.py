"""How far a stream is in the ledger: never further than it has all that was acknowledged."""

from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from atp_service.ledger import Ledger, stream_checkpoints
from atp_service.ledger.stream_checkpoints import Due, Mark
from tests.ledger.forged_rows import Writer
from tests.ledger.test_append import append

MADE = datetime(2026, 11, 23, tzinfo=UTC)


async def due(ledger: Ledger) -> Due | None:
    async with ledger.connection() as connection:
        return await stream_checkpoints.to_replay_for(connection, 0)


async def place(connection: AsyncConnection[Any]) -> int:
    return await stream_checkpoints.recorded_through(connection, 0, "EVENTS", MADE)


async def test_another_redis_than_the_last_is_a_doubt_and_the_first_is_none(ledger: Ledger) -> None:
    await ledger.open(1, "the-redis")
    assert await due(ledger) is None
    await ledger.open(1, "another-redis")
    await ledger.open(1, "another-redis")
    assert await due(ledger) == Due(0, 1)
    await ledger.open(1, "the-redis")
    await ledger.doubt()
    assert await due(ledger) == Due(0, 3)
    # In an epoch that is over nobody opens anything.
    await ledger.open(0, "a-third-redis")
    assert await due(ledger) == Due(0, 3)
    await ledger.begin(1, partition=1)
    await ledger.open(1, "the-redis", partition=1)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.to_replay_for(connection, 1) is None


async def test_while_there_is_a_doubt_no_place_is_noted(ledger: Ledger, empty_ledger: str) -> None:
    writer = Writer()
    await append(empty_ledger, writer.sale("SKU-1"))
    seen = Mark("EVENTS", MADE, 7, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.acknowledged(connection, 0, seen)
        assert await place(connection) == 7
    await ledger.doubt()
    later = Mark("EVENTS", MADE, 9, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.acknowledged(connection, 0, later)
        assert await place(connection) == 7


async def test_a_replay_settles_the_doubts_it_began_after(
    ledger: Ledger, empty_ledger: str
) -> None:
    await ledger.doubt()
    began = await due(ledger)
    assert began is not None
    await ledger.doubt()
    writer = Writer()
    sale = writer.sale("SKU-1")
    given = Mark("EVENTS", MADE, 9, writer.seq, writer.digest)
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.replayed(connection, 0, given, began, 2)
    await append(empty_ledger, sale)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.replayed(connection, 0, given, began, 2)
        assert await place(connection) == 0
    again = await due(ledger)
    assert again == Due(0, 2)
    async with ledger.connection() as connection:
        assert await stream_checkpoints.replayed(connection, 0, given, again, 2)
        # One that was slower settles nothing anew.
        assert await stream_checkpoints.replayed(connection, 0, given, began, 2)
        assert await place(connection) == 9
    assert await due(ledger) is None


async def test_a_redis_without_an_entry_proves_nothing_beside_a_ledger_with_some(
    ledger: Ledger, empty_ledger: str
) -> None:
    await ledger.doubt()
    nothing = Mark("EVENTS", MADE, 3, 0, "")
    async with ledger.connection() as connection:
        # What was acknowledged left an entry; what nobody could apply anew may have left none.
        assert not await stream_checkpoints.acknowledged(connection, 0, nothing)
        assert await stream_checkpoints.replayed(connection, 0, nothing, Due(0, 1), 0)
    assert await due(ledger) is None
    await ledger.doubt()
    await append(empty_ledger, Writer().sale("SKU-1"))
    async with ledger.connection() as connection:
        assert not await stream_checkpoints.replayed(connection, 0, nothing, Due(0, 2), 0)
    assert await due(ledger) == Due(0, 2)
