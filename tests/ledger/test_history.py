"""A level's past: any moment is found with a few looks, however often the level has changed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.catalog import Catalog, Channel, Location
from atp_service.catalog.history import record_at
from atp_service.inventory.commands import Hold, HoldLine, RepairLevel, SafetyStock
from atp_service.inventory.journal import RULES, Entry, Head, decode_entry
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import Extras, StockLevel, level_field
from atp_service.ledger import Ledger
from atp_service.ledger.read import level_history
from atp_service.ledger.read.level_history import Moment, Span
from tests.ledger.forged_rows import NOON, Writer
from tests.ledger.test_append import append

VERSIONS = 100_000

# A level that a hundred thousand entries touched, one a millisecond; three of them moved on_hand.
HOT = f"""
SELECT make_slices({VERSIONS}, 5000000);
INSERT INTO entries
SELECT
    0, number, 1, to_timestamp({NOON} / 1000.0) + number * interval '1 ms', 'hold',
    '\\x80', %(head)s, %(images)s, number::text, sha256(number::text::bytea)
FROM generate_series(1, {VERSIONS}) AS number;
INSERT INTO movements
SELECT
    0, number, number, CASE WHEN number <= 3 THEN 5 ELSE 0 END, least(number, 3) * 5,
    number, 0, 0, to_timestamp({NOON} / 1000.0) + number * interval '1 ms',
    to_timestamp({NOON} / 1000.0) + number * interval '1 ms', NULL, 'HOT', 'DC-1', 'hold'
FROM generate_series(1, {VERSIONS}) AS number;
INSERT INTO movements
SELECT
    0, number, 1, 1, 1, 0, 0, 0, to_timestamp({NOON} / 1000.0), to_timestamp({NOON} / 1000.0),
    NULL, 'COLD-' || number, 'DC-1', 'receipt'
FROM generate_series(1, {VERSIONS}) AS number;
UPDATE positions SET seq = {VERSIONS};
"""


@pytest.fixture
def hot_level(ledger: Ledger, superuser_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection beside a ledger with a hot level among many cold ones, its statistics taken."""
    encode = msgspec.msgpack.encode
    images = encode([("lHOT\x1fDC-1", encode(StockLevel(15)))])
    written = {"head": encode(Head(1, NOON, "hold", RULES)), "images": images}
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        with connection.cursor() as cursor:
            for statement in HOT.split(";\n"):
                if statement.strip():
                    cursor.execute(statement.encode(), written)
            cursor.execute("ANALYZE movements, entries")
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's steps."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def rows_looked_at(scan: dict[str, Any]) -> int:
    removed = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    return int((scan["Actual Rows"] + removed) * scan["Actual Loops"])


QUERIES: dict[str, tuple[set[str], int]] = {
    level_history.IMAGES_AT: ({"movements_pkey"}, 100),
    level_history.CHANGES: ({"movements_pkey"}, level_history.REACH + 1),
    level_history.EARLIER_MOVES: ({"movements_of_on_hand"}, 5),
    level_history.SPAN: (set(), 5),
}


async def test_a_hot_level_is_asked_by_its_index_and_answers(
    hot_level: psycopg.Connection[Any], ledger: Ledger
) -> None:
    """Not timed: the plan says how many rows are looked at, whatever else the machine does."""
    asked = {
        "sku": "HOT",
        "location": "DC-1",
        "before": datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(milliseconds=50_000),
        "version": VERSIONS,
        "seq": VERSIONS,
        "reach": level_history.REACH,
        "of_channel": 0,
        "limit": 5,
        "until": datetime.max.replace(tzinfo=UTC),
        "partition": 0,
    }
    for query, (index, most) in QUERIES.items():
        with psycopg.ClientCursor(hot_level) as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode(), asked)
            row = cursor.fetchone()
        assert row is not None
        steps = list(nodes(row[0][0]["Plan"]))
        used = {step["Index Name"] for step in steps if "Index Name" in step}
        assert {name for name in used if name.startswith("movements")} == index, row
        looks = [
            step
            for step in steps
            if step.get("Relation Name", "").startswith(("movements", "entries"))
        ]
        assert "Seq Scan" not in [look["Node Type"] for look in looks], row
        assert sum(map(rows_looked_at, looks)) <= most, row

    assert await level_history.level_at(ledger, "HOT", "DC-1", NOON + 50_000) == (
        StockLevel(15),
        50_000,
    )
    assert await level_history.level_at(ledger, "HOT", "DC-1", NOON) is None
    found = await level_history.changes(ledger, "HOT", "DC-1", VERSIONS, of_channel=0, limit=5)
    assert [(change.version, change.units, change.after) for change in found["on_hand"]] == [
        (3, 5, 15),
        (2, 5, 10),
        (1, 5, 5),
    ]
    newest = [VERSIONS - back for back in range(5)]
    assert [change.version for change in found["reserved"]] == newest
    then = await level_history.changes(
        ledger, "HOT", "DC-1", 1_500, of_channel=0, limit=2, moment=Moment(NOON + 1_500, 1_500)
    )
    assert [change.version for change in then["on_hand"]] == [3, 2]


async def test_at_every_moment_the_level_is_what_its_last_entry_left(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    told = [writer.sale("SKU-1" if number % 3 else "SKU-2") for number in range(40)]
    await append(database_url, partition, *told)
    for at_ms in range(NOON - 1, NOON + 43):
        for sku in ("SKU-1", "SKU-2"):
            assert await level_history.level_at(ledger, sku, "DC-1", at_ms) == last_of(
                told, sku, at_ms
            )
    assert await level_history.level_at(ledger, "SKU-3", "DC-1", NOON + 10) is None


@pytest.mark.parametrize("by_hand", [5_000, 0])
async def test_a_version_that_somebody_set_by_hand_hides_no_moment(
    by_hand: int, database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    told = []
    for number in range(12):
        if number in (0, 6):
            sold = writer.levels.get(("SKU-1", "DC-1"), StockLevel())
            version = sold.version + 5_000 if by_hand else 0
            writer.levels["SKU-1", "DC-1"] = msgspec.structs.replace(sold, version=version)
        told.append(writer.sale("SKU-1"))
    await append(database_url, partition, *told)
    for at_ms in range(NOON, NOON + 14):
        found = await level_history.level_at(ledger, "SKU-1", "DC-1", at_ms)
        assert found == last_of(told, "SKU-1", at_ms)
    last = decode_entry(told[-1], None).levels["SKU-1\x1fDC-1"].version
    changes = await level_history.changes(ledger, "SKU-1", "DC-1", last, of_channel=0, limit=100)
    assert set(changes) == {"on_hand"}


def last_of(told: list[Entry], sku: str, at_ms: int) -> tuple[StockLevel, int] | None:
    """The same, found by looking at everything."""
    images = [
        (level, entry.seq)
        for entry in told
        for name, level in decode_entry(entry, None).levels.items()
        if name == level_field(sku, "DC-1") and NOON + entry.seq <= at_ms
    ]
    return images[-1] if images else None


async def test_the_range_is_from_the_first_entry_to_the_last(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    assert await level_history.span(ledger, partition) is None
    writer = Writer()
    await append(database_url, partition, *[writer.sale("SKU-1") for _ in range(3)])
    assert await level_history.span(ledger, partition) == Span(NOON + 1, NOON + 3)


async def test_a_change_is_the_difference_to_the_version_before(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    line = HoldLine(line_id="1", sku="SKU-1", location="DC-1", quantity=2)
    hold = Hold(reservation_id="cart-1", lines=[line], fingerprint="", ttl_ms=1, traceparent="t")
    held = Reservation("held", 1, "web", "", "", 0, 0, 0, 0, "", "", 2, [])
    policy = SafetyStock(sku="SKU-1", location="DC-1", safety_stock=4)
    own = Extras(safety_stock=4, states={"damaged": 1, "lost": -1})
    await append(
        database_url,
        partition,
        writer.sale("SKU-1", 3),
        writer.write(
            hold,
            levels=[("SKU-1", "DC-1", StockLevel(-3, 2, 0, 2, 1, NOON + 2))],
            reservations={"cart-1": held},
        ),
        writer.write(policy, levels=[("SKU-1", "DC-1", StockLevel(-3, 2, 0, 3, 1, NOON, own))]),
    )
    found = await level_history.changes(ledger, "SKU-1", "DC-1", 3, of_channel=1, limit=5)
    assert {
        term: [(change.units, change.after, change.version) for change in changes]
        for term, changes in found.items()
    } == {
        "on_hand": [(-3, -3, 1)],
        "reserved": [(2, 2, 2)],
        "unavailable": [(1, 1, 3)],
        "safety_stock": [(3, 4, 3)],
    }
    (reserved,) = found["reserved"]
    assert reserved.entry.reservation_ids == ["cart-1"]
    assert reserved.entry.fields.traceparent == "t"
    before = await level_history.changes(ledger, "SKU-1", "DC-1", 1, of_channel=1, limit=5)
    assert set(before) == {"on_hand"}


async def test_a_repair_shows_by_how_much_it_set_the_number_right(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    writer = Writer()
    bought = writer.sale("SKU-1", -10)
    # Somebody sets on_hand to 50 in Redis: the next sale finds it so, and a repair takes it back.
    writer.levels["SKU-1", "DC-1"] = StockLevel(50, version=1, moves=1)
    sold = writer.sale("SKU-1", 1)
    right = StockLevel(9, version=3, moves=3)
    repair = RepairLevel(sku="SKU-1", location="DC-1", found=StockLevel(49), right=StockLevel(9))
    await append(
        database_url,
        partition,
        bought,
        sold,
        writer.write(repair, levels=[("SKU-1", "DC-1", right)]),
    )
    found = await level_history.changes(ledger, "SKU-1", "DC-1", 3, of_channel=0, limit=5)
    assert [
        (change.entry.head.kind, change.units, change.after) for change in found["on_hand"]
    ] == [("repair_level", -40, 9), ("sale", -1, 49), ("sale", 10, 10)]


async def test_a_repair_shows_what_it_found_where_no_entry_has_come_over_it(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    """The number is what it was before: without the repair's own word nobody would hear of it."""
    writer = Writer()
    bought = writer.sale("SKU-1", -10)
    states = Extras(states={"damaged": 2})
    repairs = [
        (StockLevel(15, 3, extras=states), StockLevel(10, version=2, moves=2)),
        (StockLevel(10, 0, 4), StockLevel(10, version=3, moves=3)),
        (None, StockLevel(10, version=4, moves=4)),
    ]
    written = [
        writer.write(
            RepairLevel(sku="SKU-1", location="DC-1", found=found, right=right),
            levels=[("SKU-1", "DC-1", right)],
        )
        for found, right in repairs
    ]
    await append(database_url, partition, bought, *written)
    found = await level_history.changes(ledger, "SKU-1", "DC-1", 4, of_channel=1, limit=5)
    assert {
        term: [(change.units, change.after, change.found) for change in changes]
        for term, changes in found.items()
        if changes
    } == {
        "on_hand": [(10, 10, None), (-5, 10, 15), (10, 10, None)],
        "reserved": [(-3, 0, 3)],
        "allocated": [(-4, 0, 4)],
        "unavailable": [(-2, 0, 2)],
    }
    # Repairs of other terms take nobody's place.
    latest = await level_history.changes(ledger, "SKU-1", "DC-1", 4, of_channel=1, limit=1)
    assert [change.units for change in latest["on_hand"]] == [10]


async def test_master_data_is_remembered_as_it_was(
    database_url: str, ledger: Ledger, partition: int
) -> None:
    web = f"web-{partition}"  # what is remembered of it stays
    async with AsyncConnectionPool(database_url, min_size=1, max_size=2) as pool:
        catalog = Catalog(pool)
        moments = []
        for change in (
            catalog.put(Channel(id=web, safety_stock=1)),
            catalog.put(Channel(id=web, safety_stock=2)),
            catalog.delete(Channel, web),
            catalog.put(Channel(id=web, safety_stock=3)),
        ):
            await change
            moments.append(await _next_millisecond(pool))
        found = [await record_at(catalog, Channel, web, at) for at in moments]
        since = [past.since_ms for past in found if past and past.since_ms]
        assert await record_at(catalog, Channel, web, since[0] - 1) is None
        assert await record_at(catalog, Location, web, moments[-1]) is None
    assert [past and past.record and past.record.safety_stock for past in found] == [1, 2, None, 3]
    assert all(began <= at for began, at in zip(since, moments, strict=True))
    assert since == sorted(set(since))


async def _next_millisecond(pool: AsyncConnectionPool[Any]) -> int:
    """The moment that ends now, by the clock that wrote it down; what comes is later."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_sleep(0.002)"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
