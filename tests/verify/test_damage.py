"""Whatever somebody changes behind the service's back is found, and named by its entry.

The owner of the database can switch off what refuses a change; these tests do just that.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import psycopg
import pytest

from atp_service.inventory.commands import RepairLevel, decode_command, encode_command
from atp_service.inventory.journal import Entry, decode_head
from atp_service.inventory.stock import StockLevel, decode_level, level_field
from atp_service.ledger.read import raw_entries
from atp_service.ledger.write.rows import entry_values
from tests.builders import hold, receipt, sale
from tests.recorders import last_seq
from tests.verify.shop import Shop

IN_THE_MIDDLE = 20
by_both_ways = pytest.mark.parametrize("execute", [False, True], ids=["folded", "executed"])


@by_both_ways
async def test_a_shop_nobody_has_tampered_with_holds(shop: Shop, execute: bool) -> None:
    verdict = await shop.verdict(execute=execute)
    assert verdict.findings == []
    assert verdict.holds
    assert verdict.redis_not_compared is None
    assert verdict.redis > 10
    assert verdict.entries == verdict.through[shop.partition.number] > 40


async def test_the_digest_is_the_same_whether_commands_are_executed_or_not(shop: Shop) -> None:
    folded, executed = await shop.verdict(), await shop.verdict(execute=True)
    assert (folded.executed, executed.executed) == (False, True)
    assert (folded.digest, folded.rows) == (executed.digest, executed.rows)


ONE_BYTE = {
    "command": "command = set_byte(command, 12, get_byte(command, 12) # 1)",
    "head": "head = set_byte(head, 2, get_byte(head, 2) # 1)",
    "images": "images = set_byte(images, 44, get_byte(images, 44) # 1)",
    "digest": "digest = overlay(digest PLACING 'x' FROM 3)",
    "chain": "chain = set_byte(chain, 5, get_byte(chain, 5) # 1)",
    "epoch": "epoch = epoch + 1",
    "at": "at = at + interval '1 microsecond'",
    "kind": "kind = overlay(kind PLACING 'x' FROM 1)",
}


@pytest.mark.parametrize("column", ONE_BYTE)
@by_both_ways
async def test_one_byte_of_one_entry_is_found(shop: Shop, column: str, execute: bool) -> None:
    shop.tamper("entries", f"UPDATE entries SET {ONE_BYTE[column]} WHERE seq = {IN_THE_MIDDLE}")
    verdict = await shop.verdict(redis=False, execute=execute)
    assert not verdict.holds
    assert verdict.first is not None
    assert verdict.first.seq == IN_THE_MIDDLE
    assert f"entry {IN_THE_MIDDLE}" in verdict.first.detail
    # What comes after it holds: but that an epoch which was raised has fallen again, and a time
    # too where the next entry is of the same millisecond.
    assert verdict.by_check["chain"] in {"epoch": [2], "at": [1, 2]}.get(column, [1])


@by_both_ways
async def test_one_entry_that_tells_more_units_is_one_fault(shop: Shop, execute: bool) -> None:
    """What came after it was made from what there was, and what follows from it is as it was."""
    with psycopg.connect(shop.database_url) as connection:
        row = connection.execute("SELECT min(seq) FROM entries WHERE kind = 'sale'").fetchone()
    assert row is not None
    (seq,) = row
    tell_of_one_unit_more(shop, seq)
    verdict = await shop.verdict(execute=execute)
    judged = "model" if execute else "images"
    assert verdict.by_check == {"chain": 1, judged: 1, "movements": 1}, verdict.findings
    assert {finding.seq for finding in verdict.findings} == {seq}


@by_both_ways
async def test_a_fault_is_one_though_its_level_is_touched_much_later(
    shop: Shop, execute: bool
) -> None:
    """The next entry of the level was made from what there was."""
    await shop.trade(sale("SKU-21317"))
    seq = (await shop.verdict(redis=False)).through[shop.partition.number]
    tell_of_one_unit_more(shop, seq)
    await shop.trade(*(sale("SKU-21316") for _ in range(40)), sale("SKU-21317"))
    verdict = await shop.verdict(execute=execute)
    judged = "model" if execute else "images"
    assert verdict.by_check == {"chain": 1, judged: 1, "movements": 1}, verdict.findings
    assert {finding.seq for finding in verdict.findings} == {seq}


def tell_of_one_unit_more(shop: Shop, seq: int) -> None:
    """The entry, of one level alone, has one unit more."""
    with psycopg.connect(shop.database_url) as connection:
        row = connection.execute("SELECT images FROM entries WHERE seq = %s", (seq,)).fetchone()
    assert row is not None
    ((name, image),) = msgspec.msgpack.decode(row[0])
    level = msgspec.msgpack.decode(image)
    level[0] += 1
    told = msgspec.msgpack.encode([[name, msgspec.msgpack.encode(level)]])
    shop.tamper("entries", f"UPDATE entries SET images = %s WHERE seq = {seq}", told)


async def test_a_deleted_entry_is_missing(shop: Shop) -> None:
    shop.tamper("entries", f"DELETE FROM entries WHERE seq = {IN_THE_MIDDLE}")
    verdict = await shop.verdict(redis=False)
    assert verdict.first is not None
    assert verdict.first.detail == f"entry {IN_THE_MIDDLE} is missing"


async def test_the_last_entries_are_missing_where_the_position_says_more(shop: Shop) -> None:
    last = await last_seq(shop.partition)
    shop.tamper("entries", f"DELETE FROM entries WHERE seq > {last - 3}")
    verdict = await shop.verdict(redis=False)
    assert verdict.by_check["position"] == 1
    assert any(
        f"it is at entry {last}, the last entry is {last - 3}" in finding.detail
        for finding in verdict.findings
    )


async def test_entries_that_changed_places_are_found(shop: Shop) -> None:
    first, second = IN_THE_MIDDLE, IN_THE_MIDDLE + 4
    columns = "epoch, at, kind, command, head, images, digest, chain"
    shop.tamper(
        "entries",
        f"UPDATE entries SET ({columns}) = (SELECT {columns} FROM entries AS other "
        f"WHERE other.seq = {first} + {second} - entries.seq) WHERE seq IN ({first}, {second})",
    )
    verdict = await shop.verdict(redis=False)
    assert verdict.first is not None
    assert verdict.first.seq == first


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("movements", "UPDATE movements SET on_hand = on_hand + 1 WHERE seq = 20"),
        (
            "movements",
            "UPDATE movements SET occurred_at = occurred_at - interval '1 day' WHERE seq = 20",
        ),
        ("movements", "DELETE FROM movements WHERE seq = 20"),
        ("events", "UPDATE events SET status = 'absorbed' WHERE event_id = 'set-aside'"),
        ("events", "UPDATE events SET event_id = 'another' WHERE event_id = 'set-aside'"),
        ("events", "DELETE FROM events WHERE event_id = 'set-aside'"),
        ("levels", "UPDATE levels SET on_hand = on_hand + 1 WHERE sku = 'SKU-21311'"),
        ("levels", "UPDATE levels SET folded = folded + 1 WHERE sku = 'SKU-21311'"),
        ("levels", "UPDATE levels SET document = document || '\\x00' WHERE sku = 'SKU-21311'"),
        ("levels", "UPDATE levels SET extras = '{}' WHERE sku = 'SKU-21311'"),
        ("levels", "DELETE FROM levels WHERE sku = 'SKU-21311'"),
        ("levels", "UPDATE levels SET sku = 'SKU-X' WHERE sku = 'SKU-21311'"),
        ("reservations", "UPDATE reservations SET status = 'released' WHERE status = 'held'"),
        ("reservations", "DELETE FROM reservations WHERE status = 'held'"),
        ("reservations", "UPDATE reservations SET in_redis = false WHERE status = 'held'"),
        ("orders", "DELETE FROM orders WHERE order_id = 'order-to-come'"),
        ("orders", "UPDATE orders SET document = document || '\\x00'"),
        ("orders", "UPDATE orders SET in_redis = false WHERE order_id = 'order-to-come'"),
        ("traces", "DELETE FROM traces WHERE ref = 'truck-1'"),
        ("traces", "UPDATE traces SET ref = 'another' WHERE ref = 'order-to-come'"),
        ("exceptions", "UPDATE exceptions SET count = count + 1 WHERE kind = 'negative-stock'"),
        ("exceptions", "UPDATE exceptions SET status = 'open' WHERE kind = 'negative-stock'"),
        ("exceptions", "UPDATE exceptions SET owner = 'finance' WHERE kind = 'negative-stock'"),
        ("exceptions", "UPDATE exceptions SET last_seq = last_seq - 1 WHERE kind = 'unknown-sku'"),
        ("exceptions", "DELETE FROM exceptions WHERE kind = 'negative-stock'"),
        ("parked", "UPDATE parked SET payload = 'other' WHERE event_id = 'unknown'"),
        ("snapshot_lines", "UPDATE snapshot_lines SET difference = difference + 1"),
        ("snapshot_lines", "DELETE FROM snapshot_lines"),
        # Rows where nobody looks who folds a partition.
        ("movements", "UPDATE movements SET partition = 7 WHERE seq = 20"),
        ("events", "UPDATE events SET partition = 7, seq = seq - 1 WHERE event_id = 'set-aside'"),
        ("events", "INSERT INTO events SELECT 0, 0, source, 'not-yet', status FROM events LIMIT 1"),
        ("traces", "INSERT INTO traces (partition, seq, ref) VALUES (7, 1, 'another')"),
        ("levels", "UPDATE levels SET partition = 7 WHERE sku = 'SKU-21311'"),
        ("orders", "INSERT INTO orders VALUES (7, 1, 'x', '\\x00', true)"),
        ("exceptions", "UPDATE exceptions SET partition = 7 WHERE kind = 'negative-stock'"),
    ],
)
async def test_a_changed_row_is_found(shop: Shop, table: str, change: str) -> None:
    shop.tamper(table, change)
    verdict = await shop.verdict(redis=False)
    assert set(verdict.by_check) == {table}
    assert not verdict.holds


async def test_an_exception_that_a_person_has_closed_is_no_damage(shop: Shop) -> None:
    shop.tamper("exceptions", "UPDATE exceptions SET status = 'resolved', note = 'seen to'")
    await shop.trade(sale("SKU-21318", 1), receipt("SKU-21318", 1), sale("SKU-21318", 1))
    verdict = await shop.verdict()
    assert verdict.findings == []


async def test_entries_beyond_the_position_are_found(shop: Shop) -> None:
    shop.tamper("positions", "UPDATE positions SET seq = seq - 1")
    assert set((await shop.verdict(redis=False)).by_check) == {"position"}


async def test_a_history_made_anew_is_found_by_executing_it(shop: Shop, redis: Any) -> None:
    """Who can chain anew can tell of another sale; only executing it shows that it was not so."""
    await shop.trade(sale("SKU-21311"))
    tell_of_another_sale(shop)
    assert (await shop.verdict(redis=False)).holds
    verdict = await shop.verdict(redis=False, execute=True)
    assert verdict.by_check == {"model": 1}
    assert verdict.first is not None
    assert verdict.first.seq == await last_seq(shop.partition)


def tell_of_another_sale(shop: Shop) -> None:
    """The last entry's command sells two units instead of one."""

    def of_two(entry: Entry) -> Entry:
        command = msgspec.structs.replace(decode_command(entry.command), quantity=2)
        return msgspec.structs.replace(entry, command=encode_command(command))

    make_anew(shop, of_two)


def make_anew(shop: Shop, change: Callable[[Entry], Entry]) -> int:
    """The last entry is another; digest, chain and position are made to fit. Answers its seq."""
    with psycopg.connect(shop.database_url) as connection:
        number = shop.partition.number
        position = raw_entries.positions(connection)[number]
        last, before = position.seq, position.seq - 1
        (row,) = raw_entries.entries(connection, number, before, last)
        (previous,) = raw_entries.entries(connection, number, before - 1, before)
    told = change(row.entry())
    digest = told.digest_after(previous.digest.decode())
    told = msgspec.structs.replace(told, digest=digest)
    chained = sha256(previous.chain + entry_values(number, told, decode_head(told.head))).digest()
    shop.tamper(
        "entries",
        "UPDATE entries SET (command, images, digest, chain) = (%s, %s, %s, %s)"
        f" WHERE seq = {last}",
        told.command,
        msgspec.msgpack.encode(told.images),
        digest,
        chained,
    )
    shop.tamper(
        "positions",
        f"UPDATE positions SET (digest, chain) = (%s, %s) WHERE partition = {number}",
        digest,
        chained,
    )
    return last


def without_lines(image: list[Any]) -> None:
    image[-1] = "none"


def beyond_all_bounds(image: list[Any]) -> None:
    image[0] = 2**63


@pytest.mark.parametrize(
    ("what", "spoil"), [("r", without_lines), ("l", beyond_all_bounds)], ids=["text", "number"]
)
@by_both_ways
async def test_what_no_script_can_have_written_is_named_even_where_it_is_chained(
    shop: Shop, what: str, spoil: Callable[[list[Any]], None], execute: bool
) -> None:
    def spoilt(entry: Entry) -> Entry:
        images = []
        for name, image in entry.images:
            parts = msgspec.msgpack.decode(image or b"")
            if name[0] == what:
                spoil(parts)
            images.append((name, msgspec.msgpack.encode(parts)))
        return msgspec.structs.replace(entry, images=images)

    await shop.trade(hold("cart-late", "SKU-21314"))
    last = make_anew(shop, spoilt)
    verdict = await shop.verdict(redis=False, execute=execute)
    assert not verdict.holds
    assert last in {one.seq for one in verdict.findings if "can't be" in one.detail}


async def test_units_promised_to_nobody_are_found(shop: Shop, redis: Any) -> None:
    """Reserved in Redis without a hold, and gone on from: only what is promised shows it."""
    field = level_field("SKU-21313", "DC-1")
    image = msgspec.msgpack.decode(await redis.hget(shop.partition.keys.stock, field))
    image[1] += 2
    await redis.hset(shop.partition.keys.stock, field, msgspec.msgpack.encode(image))
    await shop.trade(sale("SKU-21313"))
    verdict = await shop.verdict()
    assert verdict.by_check == {"promises": 1}, verdict.findings
    assert "SKU-21313 at DC-1 has 2 reserved, its reservations hold 0" in verdict.findings[0].detail


async def test_another_position_is_found(shop: Shop) -> None:
    shop.tamper("positions", "UPDATE positions SET chain = '\\x00'")
    assert set((await shop.verdict(redis=False)).by_check) == {"position"}


async def test_entries_without_a_position_are_found(shop: Shop) -> None:
    shop.tamper("positions", "DELETE FROM positions")
    verdict = await shop.verdict(redis=False)
    assert verdict.by_check == {"position": 1}
    assert not verdict.holds


async def test_a_value_changed_in_redis_is_found(shop: Shop, redis: Any) -> None:
    field = level_field("SKU-21312", "DC-1")
    image = msgspec.msgpack.decode(await redis.hget(shop.partition.keys.stock, field) or b"")
    image[0] -= 1
    await redis.hset(shop.partition.keys.stock, field, msgspec.msgpack.encode(image))
    verdict = await shop.verdict()
    assert [finding.check for finding in verdict.findings] == ["redis"]
    on_hand = image[0]
    told = f"SKU-21312 at DC-1 on_hand {on_hand}, should be {on_hand + 1}"
    assert told in verdict.findings[0].detail


async def test_what_is_missing_or_strange_in_redis_is_found(shop: Shop, redis: Any) -> None:
    await redis.hdel(shop.partition.keys.stock, level_field("SKU-21310", "DC-1"))
    await redis.hset(
        shop.partition.keys.stock, level_field("SKU-21319", "S-9"), msgspec.msgpack.encode([1] * 6)
    )
    await redis.hset(
        shop.partition.keys.stock, "SKU-21313", msgspec.msgpack.encode(["DC-1", "S-1"])
    )
    await redis.hset(shop.partition.keys.orders, "order-to-come", "nonsense")
    (member, _), *_ = await redis.zrange(shop.partition.keys.deadlines, 0, 0, withscores=True)
    await redis.zrem(shop.partition.keys.deadlines, member)
    verdict = await shop.verdict()
    assert set(verdict.by_check) == {"redis"}
    details = sorted(finding.detail for finding in verdict.findings)
    assert len(details) == 5, details


async def test_a_dedupe_mark_that_is_missing_or_follows_from_no_entry_is_found(
    shop: Shop, redis: Any
) -> None:
    seen = shop.partition.keys.seen
    assert await redis.hdel(seen, "eerp\x1flist") == 1
    await redis.hset(seen, "eerp\x1fnever-sent", "")
    verdict = await shop.verdict()
    assert sorted(finding.detail for finding in verdict.findings) == [
        r"in Redis: the dedupe mark 'eerp\x1flist' is not there",
        r"in Redis: the dedupe mark 'eerp\x1fnever-sent' is there, and follows from no entry",
    ]


async def damaged(shop: Shop, redis: Any, sku: str, units: int) -> tuple[StockLevel, StockLevel]:
    """The level in Redis, with units less that no entry tells of; as it is now, and was."""
    field = level_field(sku, "DC-1")
    image = msgspec.msgpack.decode(await redis.hget(shop.partition.keys.stock, field))
    right = msgspec.convert(image, StockLevel)
    image[0] -= units
    await redis.hset(shop.partition.keys.stock, field, msgspec.msgpack.encode(image))
    return msgspec.convert(image, StockLevel), right


@by_both_ways
async def test_what_was_damaged_in_redis_and_sold_from_is_found_in_the_entry(
    shop: Shop, redis: Any, execute: bool
) -> None:
    """The script goes on from what it finds; the entry says so, and does not follow."""
    _, right = await damaged(shop, redis, "SKU-21312", 5)
    before = await last_seq(shop.partition)
    await shop.trade(sale("SKU-21312"), sale("SKU-21312"), sale("SKU-21313"))
    verdict = await shop.verdict(execute=execute)
    assert verdict.by_check == {"model" if execute else "images": 1}, verdict.findings
    assert verdict.first is not None
    assert verdict.first.seq == before + 1
    told = f"SKU-21312 at DC-1 on_hand {right.on_hand - 6}, should be {right.on_hand - 1}"
    assert told in verdict.first.detail


@by_both_ways
async def test_what_was_repaired_since_is_shown_and_holds(
    shop: Shop, redis: Any, execute: bool
) -> None:
    found, right = await damaged(shop, redis, "SKU-21312", 5)
    await shop.trade(
        sale("SKU-21312"),
        RepairLevel(sku="SKU-21312", location="DC-1", found=found, right=right),
        sale("SKU-21312"),
    )
    verdict = await shop.verdict(execute=execute)
    assert (verdict.found, verdict.repaired) == (1, 1)
    assert verdict.findings[0].repaired_by == await last_seq(shop.partition) - 1
    assert verdict.holds
    assert verdict.first is None


@by_both_ways
async def test_a_repair_before_anything_was_sold_leaves_nothing_to_find(
    shop: Shop, redis: Any, execute: bool
) -> None:
    found, right = await damaged(shop, redis, "SKU-21312", 5)
    seq = await last_seq(shop.partition)
    repair = RepairLevel(sku="SKU-21312", location="DC-1", found=found, right=right)
    await redis.hset(shop.partition.keys.stock, level_field("SKU-21313", "DC-1"), "nonsense")
    (level,) = [image for name, image in await images(shop, seq) if name.startswith("lSKU-21313")]
    await shop.trade(
        repair,
        RepairLevel(sku="SKU-21313", location="DC-1", right=level),
        sale("SKU-21312"),
        sale("SKU-21313"),
    )
    assert await last_seq(shop.partition) == seq + 4
    verdict = await shop.verdict(execute=execute)
    assert verdict.findings == []
    assert verdict.holds


async def images(shop: Shop, seq: int) -> list[tuple[str, StockLevel]]:
    """Every level as of an entry, from the ledger."""
    with psycopg.connect(shop.database_url) as connection:
        rows = connection.execute(
            "SELECT sku, document FROM levels WHERE seq <= %s", (seq,)
        ).fetchall()
    return [(f"l{sku}", decode_level(document)) for sku, document in rows]


async def test_the_services_role_can_change_nothing_that_is_only_added_to(shop: Shop) -> None:
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        slices = connection.execute("SELECT name FROM slices").fetchall()
        tables = [
            *("entries", "movements", "events", "traces", "parked", "snapshot_lines", "forks"),
            "catalog_history",
            *(name for (name,) in slices),
        ]
        for table in tables:
            column = "id" if table == "catalog_history" else "seq"
            for change in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(change.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"TRUNCATE {table}".encode())
