"""What cannot happen: an entry missing, twice, out of order, or changed; a half-written batch."""

import asyncio
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from atp_service.inventory.commands import Confirm, Heartbeat, RepairLevel
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.journal import Entry, Notice, decode_head
from atp_service.inventory.reservations import Line, Order, Reservation
from atp_service.inventory.stock import Document, Extras, StockLevel
from atp_service.ledger import Batch, Forked, Ledger, Refused, Stale, lease
from atp_service.ledger.position import GENESIS
from atp_service.ledger.write.appender import Appender
from atp_service.ledger.write.rows import entry_values
from tests.ledger.forged_rows import NOON, Writer

SLICE_SIZE = 10
# Nothing, no msgpack, and a level with a state that is no text.
UNREADABLE = [b"", b"\xc1", b"\x97" + 6 * b"\x01" + b"\x81\xa6states\x81\xa2\xff\xfe\x01"]


async def append(url: str, partition: int, *entries: Entry) -> None:
    async with lease(url, partition, slice_size=SLICE_SIZE) as appender:
        assert appender is not None
        await appender.append(batch_of(appender, *entries))


def batch_of(appender: Appender, *entries: Entry) -> Batch:
    batch = Batch(appender.partition, appender.position)
    for entry in entries:
        batch.add(entry)
    return batch


def rows(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), values).fetchall()


async def test_what_is_recorded_is_gapless_and_lossless_and_its_chain_verifies(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    told = [writer.sale(f"SKU-{n % 7}") for n in range(35)]
    for start in range(0, 35, 12):
        await append(database_url, partition, *told[start : start + 12])

    digest, chain = "", GENESIS
    recorded = rows(
        database_url, "SELECT seq, command, head, digest, images, chain FROM entries ORDER BY seq"
    )
    assert [row[0] for row in recorded] == list(range(1, 36))
    decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
    for row, entry in zip(recorded, told, strict=True):
        seq, command, head, told_digest, images, _ = row
        again = Entry(seq, command, head, told_digest, decode_images(images))
        assert again == entry
        assert again.digest_after(digest) == again.digest
        chain = sha256(chain + entry_values(partition, again, decode_head(again.head))).digest()
        assert chain == row[5]
        digest = again.digest
    position = await ledger.position(partition)
    assert position is not None
    assert (position.seq, position.digest, position.chain) == (35, digest, chain)


async def test_the_chain_hashes_what_binary_copy_writes(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, *[writer.sale("SKU-1") for _ in range(3)])
    with psycopg.connect(database_url) as connection:
        query = "COPY (SELECT * FROM entries ORDER BY seq) TO STDOUT (FORMAT BINARY)"
        with connection.cursor().copy(query) as copy:
            lines = [bytes(line) for line in copy]
    lines[0] = lines[0].removeprefix(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    chains = [GENESIS, *(line[-32:] for line in lines if len(line) > 32)]
    hashed = [line[:-36] for line in lines if len(line) > 32]
    assert len(hashed) == 3
    for (before, after), row in zip(pairwise(chains), hashed, strict=True):
        assert sha256(before + row).digest() == after


@pytest.mark.parametrize("statement", ["UPDATE {} SET seq = seq", "DELETE FROM {}", "TRUNCATE {}"])
async def test_nobody_changes_what_is_recorded(
    statement: str, database_url: str, migration_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, *[writer.sale("SKU-1") for _ in range(25)])
    slices = [row[0] for row in rows(database_url, "SELECT name FROM slices")]
    assert len(slices) > 2
    for table in ("entries", "movements", "events", "traces", "parked", *slices):
        change = sql.SQL(statement).format(sql.Identifier(table))
        for url, refusal in (
            (database_url, psycopg.errors.InsufficientPrivilege),
            (migration_url, psycopg.errors.RestrictViolation),
        ):
            with psycopg.connect(url) as connection, pytest.raises(refusal):
                connection.execute(change)


async def test_slices_are_made_ahead_of_the_entries(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    for _ in range(4):
        await append(database_url, partition, *[writer.sale("SKU-1") for _ in range(8)])
        ((end,),) = rows(database_url, "SELECT max(to_seq) FROM slices")
        assert end > writer.seq + SLICE_SIZE // 2


async def test_a_batch_the_ledger_has_moved_past_leaves_no_trace(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    first, second = writer.sale("SKU-1"), writer.sale("SKU-1")
    async with lease(database_url, partition) as appender:
        assert appender is not None
        slow = batch_of(appender, first)
        await appender.append(batch_of(appender, first, second))
        with pytest.raises(Stale):
            await appender.append(slow)
        # And it can go on from where the ledger is.
        await appender.append(batch_of(appender, writer.sale("SKU-1")))
    assert rows(database_url, "SELECT seq FROM entries ORDER BY seq") == [(1,), (2,), (3,)]


async def test_a_batch_is_written_whole_or_not_at_all(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    with psycopg.connect(database_url) as connection:
        # Somebody was here before: what entry 3 moves is in the table already.
        connection.execute(
            """
            INSERT INTO movements
            SELECT partition, 3, version, on_hand_delta, on_hand, reserved, allocated, unavailable,
                occurred_at, at, safety_stock, sku, location, kind
            FROM movements
            """
        )
    with pytest.raises(Refused):
        await append(database_url, partition, writer.sale("SKU-2"), writer.sale("SKU-1"))
    assert rows(database_url, "SELECT seq FROM entries") == [(1,)]
    assert rows(database_url, "SELECT sku FROM levels") == [("SKU-1",)]
    position = await ledger.position(partition)
    assert position is not None
    assert position.seq == 1


async def test_entries_that_do_not_continue_the_ledger_are_refused(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    strangers = [
        Writer(seq=1, digest="0" * 40).sale("SKU-9"),  # another past
        Writer(seq=2, digest=writer.digest).sale("SKU-9"),  # one is missing
        Writer(seq=0).sale("SKU-9"),  # the same place again
        Writer(epoch=2, seq=1, digest=writer.digest).sale("SKU-9"),  # another epoch
    ]
    async with lease(database_url, partition) as appender:
        assert appender is not None
        for stranger in strangers:
            with pytest.raises(Forked):
                batch_of(appender, stranger)


async def test_only_one_recorder_has_the_lease(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    async with lease(database_url, partition) as first, lease(database_url, partition) as second:
        assert first is not None
        assert second is None
    async with lease(database_url, partition) as third:
        assert third is not None


async def test_a_level_keeps_its_last_numbers_and_every_movement(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    extras = Extras(
        counted_at=NOON,
        safety_stock=3,
        states={"damaged": 2},
        documents={"PO-1": Document(expected=40, received=2, eta="2026-12-01")},
    )
    counted = StockLevel(12, 2, 1, 3, 2, NOON, extras)
    await append(
        database_url,
        partition,
        writer.sale("SKU-1", 2),
        writer.sale("SKU-1", 5, occurred_at_ms=NOON - 60_000),
        writer.write(
            Heartbeat(source="wms/dc-1", event_id="x", occurred_at_ms=NOON),
            levels=[("SKU-1", "DC-1", counted)],
            deltas=[19],
        ),
    )
    assert rows(
        database_url,
        "SELECT version, on_hand_delta, on_hand, unavailable, safety_stock, kind "
        "FROM movements ORDER BY version",
    ) == [
        (1, -2, -2, 0, None, "sale"),
        (2, -5, -7, 0, None, "sale"),
        (3, 19, 12, 2, 3, "heartbeat"),
    ]
    ((seq, on_hand, reserved, allocated, moves, told),) = rows(
        database_url, "SELECT seq, on_hand, reserved, allocated, moves, extras FROM levels"
    )
    assert (seq, on_hand, reserved, allocated, moves) == (3, 12, 2, 1, 2)
    assert msgspec.convert(told, Extras) == extras


@pytest.mark.parametrize("size", [1, 3])
async def test_a_level_that_goes_and_comes_back_begins_anew(
    database_url: str, ledger: Ledger, partition: int, size: int
) -> None:
    """Its deltas add up from when it came back, however the recorder cuts its batches."""
    writer = Writer()
    repair = RepairLevel(sku="SKU-1", location="DC-1")
    back = StockLevel(4, 0, 0, 1, 1, NOON)
    entries = [
        writer.sale("SKU-1", 5),
        writer.write(repair, levels=[("SKU-1", "DC-1", None)]),
        writer.write(repair, levels=[("SKU-1", "DC-1", back)], deltas=[4]),
    ]
    await append(database_url, partition, entries[0])
    for first in range(1, 3, size):
        await append(database_url, partition, *entries[first : first + size])
    assert rows(database_url, "SELECT seq, on_hand, folded FROM levels") == [(3, 4, 4)]


async def test_a_reservation_and_its_order_can_be_read_and_traced(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    line = Line("1", "SKU-1", "DC-1", 2, allocated=2)
    reservation = Reservation(
        "confirmed", 1, "web", "c-7", "order-1", NOON, NOON + 900_000, 0, 0, "f", "kept", 1, [line]
    )
    await append(
        database_url,
        partition,
        writer.write(
            Confirm(reservation_id="cart-1", order_id="order-1"),
            reservations={"cart-1": reservation},
            orders={"order-1": Order(["cart-1"], [])},
        ),
    )
    assert await ledger.reservation("cart-1") == reservation
    assert await ledger.reservation("cart-2") is None
    assert rows(database_url, "SELECT ref, seq FROM traces ORDER BY ref") == [
        ("cart-1", 1),
        ("order-1", 1),
    ]


async def test_an_event_is_in_the_ledger_once_however_often_it_is_entered(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.sale("SKU-1"))
    again = Writer(seq=1, digest=writer.digest)
    again.levels = writer.levels
    again.sale("SKU-1")  # not recorded: it takes the number that makes the next event's id
    repeat = Heartbeat(source="pos/store-1", event_id="sale-1", occurred_at_ms=NOON)
    fresh = Heartbeat(source="pos/store-1", event_id="sale-9", occurred_at_ms=NOON)
    await append(database_url, partition, writer.write(repeat), writer.write(fresh))
    assert rows(database_url, "SELECT event_id, seq FROM events ORDER BY event_id") == [
        ("sale-1", 1),
        ("sale-9", 3),
    ]


async def test_one_open_exception_per_cause_and_key_with_a_count(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(
        database_url, partition, *[writer.park("SKU-X") for _ in range(3)], writer.park("SKU-Y")
    )
    await append(
        database_url, partition, writer.park("SKU-X", payload="\0{broken"), writer.sale("SKU-1")
    )

    x, y = await ledger.exceptions(owner="integration", kind="unknown-sku", status="open")
    assert (x.reference, x.count, y.reference, y.count) == ("SKU-X", 4, "SKU-Y", 1)
    assert (x.payload, x.event_id, x.detail) == (b"\0{broken", "parked-5", "nobody knows SKU-X")
    assert [row.id for row in await ledger.exceptions(after=x.id)] == [y.id]
    assert rows(
        database_url, "SELECT seq FROM parked WHERE exception_id = %s ORDER BY seq", x.id
    ) == [(1,), (2,), (3,), (5,)]


async def test_stock_that_mends_itself_settles_its_exception(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    below = Notice("negative-stock", "SKU-1", "DC-1", "", -1)
    above = Notice("negative-stock", "SKU-1", "DC-1", "", 4)
    beat = Heartbeat(source="s", event_id="e", occurred_at_ms=NOON)

    async def tell(*happened: str) -> tuple[str, int] | None:
        entries = [
            writer.write(beat, opened=[below])
            if what == "below"
            else writer.write(beat, settled=[above])
            for what in happened
        ]
        await append(database_url, partition, *entries)
        known = await ledger.exceptions(owner="stores")
        assert len(known) <= 1
        return (known[0].status, known[0].count) if known else None

    assert await tell("above") is None  # nothing was open
    assert await tell("below") == ("open", 1)
    assert await tell("above") == ("settled", 1)
    assert await tell("below", "above", "below") == ("open", 3)
    assert await tell("above", "below", "above") == ("settled", 4)


async def test_a_resolved_exception_that_recurs_is_a_new_one(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    await append(database_url, partition, writer.park("SKU-X"))
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE exceptions SET status = 'resolved'")
    await append(database_url, partition, writer.park("SKU-X"))
    assert [(row.status, row.count) for row in await ledger.exceptions()] == [
        ("resolved", 1),
        ("open", 1),
    ]


async def test_whoever_waits_for_an_entry_is_told_when_it_is_recorded(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    waiting = [
        asyncio.create_task(ledger.wait_for(EntryRef(partition, 1, seq), 10.0)) for seq in (2, 1, 2)
    ]
    await append(database_url, partition, writer.sale("SKU-1"))
    await asyncio.wait_for(waiting[1], 10.0)
    assert not waiting[0].done()
    await append(database_url, partition, writer.sale("SKU-1"))
    await asyncio.wait_for(asyncio.gather(*waiting), 10.0)
    await ledger.wait_for(EntryRef(partition, 1, 1), 0.0)


async def test_an_entry_whose_head_cannot_be_read_is_none_of_the_ledger_s(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    sound = Writer().sale("SKU-1")
    async with lease(database_url, partition) as appender:
        assert appender is not None
        for head in (b"", b"\xc1", b"\x93\x01\x01\xa2\xff\xfe"):
            with pytest.raises(Forked, match="can't be read"):
                Batch(0, appender.position).add(msgspec.structs.replace(sound, head=head))


async def test_an_entry_that_left_a_level_nobody_can_read_is_none_of_the_ledger_s(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    sound = Writer().sale("SKU-1")
    async with lease(database_url, partition) as appender:
        assert appender is not None
        for image in UNREADABLE:
            draft = msgspec.structs.replace(sound, images=[(sound.images[0][0], image)])
            entry = msgspec.structs.replace(draft, digest=draft.digest_after(""))
            with pytest.raises(Forked, match="can't be read"):
                Batch(0, appender.position).add(entry)
