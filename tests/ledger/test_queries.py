"""What the ledger answers, and what it says when Postgres is away."""

import asyncio

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.inventory.commands import Hold, HoldLine
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel
from atp_service.ledger import Ledger, lease
from atp_service.ledger.write.appender import Appender
from atp_service.postgres import Unavailable
from tests.ledger.forged_rows import NOON, Writer
from tests.ledger.test_append import append, batch_of


async def test_a_partition_begins_once_and_remembers_its_redis(
    ledger: Ledger, partition: int
) -> None:
    await ledger.open(partition, 1, "another-redis")
    position = await ledger.position(partition)
    assert position is not None
    assert (position.epoch, position.seq, position.run_id) == (1, 0, "another-redis")
    assert await ledger.position(partition=7) is None


async def test_a_count_learns_what_happened_after_it_and_up_to_which_entry(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(
        database_url,
        partition,
        writer.sale("SKU-1", 2, occurred_at_ms=NOON - 1),
        writer.sale("SKU-1", 3, occurred_at_ms=NOON),
        writer.sale("SKU-1", 5, occurred_at_ms=NOON + 1),
        writer.sale("SKU-1", 7, occurred_at_ms=NOON + 2),
        writer.sale("SKU-1", 7, location="DC-2", occurred_at_ms=NOON + 2),
    )
    asked = [
        ("SKU-1", "DC-1", NOON - 1),
        ("SKU-1", "DC-1", NOON),
        ("SKU-2", "DC-1", NOON),
        ("SKU-1", "DC-1", NOON + 2),
        ("SKU-1", "DC-1", NOON),
    ]
    assert await ledger.deltas_after(partition, asked) == (5, [-15, -12, 0, 0, -12])


async def test_events_are_known_by_source_and_id_together(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"), writer.park("SKU-X"))
    asked = [("pos/store-1", "sale-1"), ("pos/store-2", "sale-1"), ("pos/store-1", "parked-2")]
    assert await ledger.seen_events(asked) == {asked[0], asked[2]}
    assert await ledger.seen_events([]) == set()


async def test_waiting_ends_when_the_time_is_up(ledger: Ledger, partition: int) -> None:
    with pytest.raises(Unavailable):
        await ledger.wait_for(EntryRef(partition, 1, 1), 0.01)


async def test_an_entry_of_a_past_epoch_that_never_came_is_not_waited_for(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    await ledger.wait_for(EntryRef(partition, 1, 1), 10.0)
    with pytest.raises(Unavailable):
        await ledger.wait_for(EntryRef(partition, 2, 1), 10.0)


async def test_an_answer_is_in_the_ledger_only_if_its_entry_left_the_reservation_so(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    """A Redis that was set back gives the same seq, in the same epoch, to another hold."""
    writer = Writer()
    line = HoldLine(line_id="1", sku="SKU-1", location="DC-1", quantity=2)
    hold = Hold(reservation_id="cart-1", lines=[line], fingerprint="", ttl_ms=1)
    held = Reservation("held", 1, "web", "", "", 0, 0, 0, 0, "", "", 1, [])
    entry = writer.write(
        hold,
        levels=[("SKU-1", "DC-1", StockLevel(0, 2, 0, 1, 0, 1))],
        reservations={"cart-1": held},
    )
    await append(database_url, partition, entry)
    another = Reservation("held", 1, "store", "", "", 0, 0, 0, 0, "", "", 1, [])

    async def answered(reservation: Reservation) -> bool:
        try:
            await ledger.wait_for_answer(EntryRef(partition, 1, reservation.seq), reservation, 10.0)
        except Unavailable:
            return False
        return True

    assert await asyncio.gather(*map(answered, (held, another, held))) == [True, False, True]


async def test_what_became_of_a_files_events_is_counted_by_status(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    told = [writer.sale("SKU-1"), writer.sale("SKU-1"), writer.sale("SKU-1"), writer.park("SKU-X")]
    await append(database_url, partition, *told)
    assert await ledger.statuses_after("pos/store-1", "sale-", {partition: 1}) == {"applied": 2}
    assert await ledger.statuses_after("pos/store-1", "", {}) == {"applied": 3, "parked": 1}
    assert await ledger.statuses_after("pos/store-2", "", {}) == {}


async def test_everything_says_unavailable_when_postgres_is_away(partition: int) -> None:
    nowhere = "postgresql://atp@/atp?host=/nonexistent"
    pool = AsyncConnectionPool(nowhere, open=False, timeout=0.1, reconnect_timeout=0.1)
    await pool.open()
    ledger = Ledger(pool)
    try:
        for asking in (
            ledger.position(partition),
            ledger.open(partition, 1, "x"),
            ledger.seen_events([("a", "b")]),
            ledger.statuses_after("a", "b", {}),
            ledger.deltas_after(partition, [("a", "b", 0)]),
            ledger.reservation("a"),
            ledger.exceptions(),
            ledger.wait_for(EntryRef(partition, 1, 1), 0.1),
        ):
            with pytest.raises(Unavailable):
                await asking
        with pytest.raises(Unavailable):
            async with lease(nowhere, partition):
                pass
    finally:
        await ledger.close()
        await pool.close()


async def test_a_connection_that_is_cut_is_unavailable_and_the_lease_is_free(
    database_url: str, superuser_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    entry = writer.sale("SKU-1")
    async with lease(database_url, partition) as appender:
        assert isinstance(appender, Appender)
        with psycopg.connect(superuser_url) as superuser:
            superuser.execute(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_locks
                JOIN pg_database ON pg_database.oid = database
                WHERE locktype = 'advisory' AND datname = current_database()
                """
            )
        with pytest.raises(Unavailable):
            await appender.append(batch_of(appender, entry))
    await append(database_url, partition, entry)
    await ledger.wait_for(EntryRef(partition, 1, 1), 10.0)
