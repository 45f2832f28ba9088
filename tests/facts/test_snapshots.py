"""What a source believes is compared with what we had at that moment, by the policy of its feed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from atp_service.catalog import Feed, Sku
from atp_service.embedded.postgres import Postgres
from atp_service.facts import snapshot_end
from atp_service.ledger import ExceptionRow
from atp_service.ledger.read import snapshots
from atp_service.ledger.read.snapshots import Comparison, Part
from tests.retailer import (
    DC,
    ERP,
    STORE,
    TILL,
    Retailer,
    away,
    event,
    now_ms,
    retailer,
    turnstile,
    until,
)

MINUTE = 60_000
Policy = Literal["correct", "review", "report"]


async def believes(shop: Retailer, policy: Policy, tolerance: int = 0, source: str = ERP) -> None:
    """The feed's policy."""
    feed = Feed(
        id=source, kind="erp", snapshot=policy, snapshot_tolerance=tolerance, sku_map={"1": "SKU-1"}
    )
    await shop.catalog.put(feed)


def line(
    quantity: int, at_ms: int, *, source: str = ERP, location: str = DC, **data: Any
) -> dict[str, Any]:
    return event(
        "snapshot", source=source, at_ms=at_ms, quantity=quantity, location=location, **data
    )


def final(at_ms: int, *, source: str = ERP, location: str = DC, **data: Any) -> dict[str, Any]:
    end = event("snapshot", source=source, at_ms=at_ms, location=location, final=True)
    end["data"] = {"location": location, "final": True, **data}
    return end


async def compared(shop: Retailer, *parts: tuple[str, int], source: str = ERP) -> Comparison:
    return await snapshots.compared(shop.ledger, source, [Part(*part) for part in parts])


async def differences(shop: Retailer) -> list[ExceptionRow]:
    return await shop.ledger.exceptions(kind="snapshot-difference")


@pytest.fixture
async def ten(shop: Retailer) -> int:
    """10 units of SKU-1 at DC-1 an hour ago; the moment of the snapshot, half an hour ago."""
    taken_at = now_ms() - 30 * MINUTE
    await shop.tell(event("receipt", quantity=10, at_ms=taken_at - 30 * MINUTE))
    return taken_at


@pytest.fixture
async def recording(shop: Retailer, ledger_url: str) -> AsyncIterator[None]:
    async with shop.recording(ledger_url):
        yield


async def test_a_snapshot_is_compared_as_of_when_it_was_taken(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")
    await shop.tell(event("sale", quantity=4, at_ms=ten + MINUTE))
    # The ERP had 10 then, as we had: the sale of a minute later is no difference.
    assert await shop.statuses(line(10, ten)) == ["applied"]
    assert await shop.on_hand() == 6
    assert await shop.statuses(line(9, ten)) == ["applied"]
    assert await shop.on_hand() == 5
    await shop.recorded()
    (found,) = await snapshots.differing(shop.ledger, ERP, [Part(DC, ten)], limit=10)
    assert (found.believed, found.difference, found.policy) == (9, -1, "correct")


async def test_units_by_a_clock_that_is_ahead_were_there_when_they_arrived(
    shop: Retailer, recording: None
) -> None:
    await believes(shop, "correct")
    await shop.tell(event("receipt", quantity=5, at_ms=now_ms() + 2 * MINUTE))
    await shop.tell(event("receipt", sku="SKU-2", quantity=5, at_ms=now_ms() + 2 * MINUTE))
    taken_at = now_ms() + 1
    assert await shop.statuses(line(4, taken_at), final(taken_at)) == ["applied", "applied"]
    # The ERP had one less of the one, and none of the other.
    assert (await shop.on_hand(), await shop.on_hand("SKU-2")) == (4, 0)


async def test_a_sale_of_before_a_corrected_snapshot_that_comes_after_it_is_absorbed(
    shop: Retailer, ten: int
) -> None:
    await believes(shop, "correct")
    await shop.tell(line(7, ten))
    late = event("sale", quantity=2, at_ms=ten - MINUTE)
    after = event("sale", quantity=2, at_ms=ten + 1)
    assert await shop.statuses(late, after) == ["absorbed", "applied"]
    assert await shop.on_hand() == 5


@pytest.mark.parametrize("policy", ["correct", "review", "report"])
@pytest.mark.parametrize(("believed", "beyond"), [(12, 0), (13, 1), (8, 0), (7, 1)])
async def test_what_is_tolerated_is_left_and_one_unit_more_goes_by_the_policy(
    shop: Retailer, ten: int, recording: None, policy: Policy, believed: int, beyond: int
) -> None:
    await believes(shop, policy, tolerance=2)
    assert await shop.statuses(line(believed, ten)) == ["applied"]
    corrected = policy == "correct" and beyond
    assert await shop.on_hand() == (believed if corrected else 10)
    await shop.recorded()
    comparison = await compared(shop, (DC, ten))
    assert (comparison.within, comparison.lines) == (1 - beyond, 1)
    by_policy = {
        "correct": comparison.corrected,
        "review": comparison.for_review,
        "report": comparison.reported,
    }
    assert by_policy == {"correct": 0, "review": 0, "report": 0, policy: beyond}
    difference = (believed - 10) * beyond
    assert comparison.units_up - comparison.units_down == difference
    opened = policy == "review" and beyond
    assert [row.units for row in await differences(shop)] == [difference] * opened


async def test_a_difference_is_one_exception_until_a_snapshot_agrees(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "review")
    await shop.tell(line(8, ten), line(8, ten + MINUTE))
    await shop.recorded()
    (row,) = await differences(shop)
    assert (row.status, row.owner, row.reference) == ("open", "finance", ERP)
    assert (row.sku, row.location, row.units, row.count) == ("SKU-1", DC, -2, 2)
    await shop.tell(event("adjustment", quantity=-2, at_ms=ten + 2 * MINUTE))
    await shop.tell(line(8, ten + 3 * MINUTE))
    await shop.recorded()
    (row,) = await differences(shop)
    assert (row.status, row.count) == ("settled", 2)


async def test_two_sources_have_their_own_snapshots_and_exceptions(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "review")
    await believes(shop, "review", source="wms/other")
    await shop.tell(line(8, ten), line(11, ten, source="wms/other"))
    await shop.recorded()
    rows = await differences(shop)
    assert {(row.reference, row.units) for row in rows} == {(ERP, -2), ("wms/other", 1)}
    assert (await compared(shop, (DC, ten))).units_down == 2
    assert (await compared(shop, (DC, ten), source="wms/other")).units_up == 1


async def test_a_snapshot_of_before_a_count_says_nothing_new(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")
    await shop.tell(event("count", quantity=9, at_ms=ten + MINUTE))
    assert await shop.statuses(line(100, ten)) == ["absorbed"]
    assert await shop.on_hand() == 9
    await shop.recorded()
    comparison = await compared(shop, (DC, ten))
    assert (comparison.lines, comparison.outdated, comparison.within) == (1, 1, 0)


async def test_a_line_counts_once(shop: Retailer, ten: int) -> None:
    await believes(shop, "correct")
    told = line(7, ten)
    assert await shop.statuses(told, told) == ["applied", "duplicate"]
    assert await shop.statuses(told) == ["duplicate"]
    assert await shop.on_hand() == 7


async def test_names_and_units_are_the_feeds(shop: Retailer, ten: int) -> None:
    await shop.catalog.put(
        Feed(id=ERP, snapshot="correct", sku_map={"0001": "SKU-1"}, location_map={"W1": DC})
    )
    told = line(2, ten, location="W1", sku="0001", unit="CASE")
    assert await shop.statuses(told) == ["applied"]
    assert await shop.on_hand() == 24


async def test_many_lines_at_once_are_one_question_to_the_ledger(
    shop: Retailer, recording: None, postgres: Postgres, ledger_url: str
) -> None:
    await believes(shop, "correct")
    taken_at = now_ms() - 30 * MINUTE
    for n in range(300):
        await shop.catalog.put(Sku(sku=f"MANY-{n}"))
    await shop.tell(
        *(event("receipt", sku=f"MANY-{n}", quantity=5, at_ms=taken_at - 1) for n in range(300)),
        *(event("sale", sku=f"MANY-{n}", quantity=n, at_ms=taken_at + 1) for n in range(1, 300)),
    )
    await shop.recorded()
    async with turnstile(postgres, ledger_url) as let_one_pass:
        told = asyncio.create_task(
            shop.statuses(*(line(7, taken_at, sku=f"MANY-{n}") for n in range(300)))
        )
        await let_one_pass()
        # A second question would not be answered.
        async with asyncio.timeout(10):
            assert await told == ["applied"] * 300
    assert [await shop.on_hand(f"MANY-{n}") for n in (0, 1, 299)] == [7, 6, -292]


async def test_a_snapshot_waits_for_postgres_and_is_then_right(
    shop: Retailer, ten: int, postgres: Postgres, ledger_url: str
) -> None:
    await believes(shop, "correct")
    told, end = line(9, ten), final(ten)
    with away(postgres, ledger_url):
        sale = event("sale", quantity=2, at_ms=ten + MINUTE)
        assert await shop.statuses(sale, told, end) == ["applied", "waiting", "waiting"]
    async with shop.recording(ledger_url):

        async def done() -> bool:
            return await shop.statuses(told, end) == ["applied", "applied"]

        await until(done)
    assert await shop.on_hand() == 7


async def stocked(shop: Retailer, taken_at: int, **units: int) -> None:
    """Levels at DC-1 as of the snapshot."""
    for sku, quantity in units.items():
        await shop.catalog.put(Sku(sku=sku))
        await shop.tell(event("receipt", sku=sku, quantity=quantity, at_ms=taken_at - MINUTE))


async def test_what_a_full_snapshot_leaves_out_was_0_in_the_source(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")
    await stocked(shop, ten, A=5, B=6, C=7)
    await shop.tell(
        event("sale", sku="B", quantity=1, at_ms=ten + MINUTE),
        event("receipt", sku="SKU-2", quantity=3, at_ms=ten + MINUTE),  # not there yet, then
        event("receipt", sku="A", quantity=9, at_ms=ten - MINUTE, location=STORE),
    )
    told = [line(10, ten), line(4, ten, sku="A")]
    assert await shop.statuses(*told, final(ten)) == ["applied"] * 3
    on_hand = {sku: await shop.on_hand(sku) for sku in ("SKU-1", "A", "B", "C", "SKU-2")}
    assert on_hand == {"SKU-1": 10, "A": 4, "B": -1, "C": 0, "SKU-2": 3}
    assert await shop.on_hand("A", STORE) == 9
    await shop.recorded()
    comparison = await compared(shop, (DC, ten))
    assert (comparison.lines, comparison.within, comparison.corrected) == (4, 1, 3)
    assert (comparison.units_up, comparison.units_down) == (0, 14)


async def test_what_is_left_out_goes_by_policy_and_tolerance_too(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "review", tolerance=5)
    await stocked(shop, ten, A=5, B=6)
    await shop.tell(line(10, ten), final(ten))
    assert (await shop.on_hand("A"), await shop.on_hand("B")) == (5, 6)
    await shop.recorded()
    (row,) = await differences(shop)
    assert (row.sku, row.units) == ("B", -6)


async def test_the_end_may_carry_a_line_of_its_own(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")
    await stocked(shop, ten, A=5)
    end = final(ten, sku="1", quantity=8)
    assert await shop.statuses(end) == ["applied"]
    assert (await shop.on_hand(), await shop.on_hand("A")) == (8, 0)
    assert await shop.statuses(end) == ["duplicate"]


async def test_a_repeated_end_changes_nothing(shop: Retailer, ten: int, recording: None) -> None:
    await believes(shop, "correct")
    end = final(ten)
    assert await shop.statuses(line(10, ten), end) == ["applied", "applied"]
    await stocked(shop, ten, LATE=5)  # arrives after the end, happened before the snapshot
    assert await shop.statuses(end) == ["duplicate"]
    assert await shop.on_hand("LATE") == 5


async def test_an_end_waits_until_the_ledger_has_the_lines_before_it(
    shop: Retailer, ten: int, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await believes(shop, "correct")
    monkeypatch.setattr(snapshot_end, "RECORDING_SECONDS", 0.05)
    end = final(ten)
    assert await shop.statuses(line(10, ten), end) == ["applied", "waiting"]
    assert await shop.on_hand() == 10
    async with shop.recording(ledger_url):
        await shop.recorded()
        assert await shop.statuses(end) == ["applied"]
    assert await shop.on_hand() == 10


async def test_an_end_that_was_broken_off_goes_on_where_it_was(
    shop: Retailer,
    ten: int,
    recording: None,
    postgres: Postgres,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await believes(shop, "correct")
    await stocked(shop, ten, A=5, B=6, C=7)
    monkeypatch.setattr(snapshot_end, "PAGE", 1)
    await shop.recorded()
    end = final(ten)
    async with turnstile(postgres, ledger_url) as let_one_pass:
        telling = asyncio.create_task(shop.tell(end))
        while await shop.on_hand("B"):
            await let_one_pass()
        telling.cancel()
        await asyncio.wait([telling])
    assert [await shop.on_hand(sku) for sku in ("A", "B", "C")] == [0, 0, 7]
    await shop.recorded()

    async def done() -> bool:
        # Where the question that was broken off had to be cut, Postgres is doubted for a moment.
        (status,) = await shop.statuses(end)
        assert status in ("applied", "waiting")
        return status == "applied"

    await until(done)
    assert [await shop.on_hand(sku) for sku in ("A", "B", "C", "SKU-1")] == [0, 0, 0, 0]
    await shop.recorded()
    assert (await compared(shop, (DC, ten))).lines == 4


async def test_an_end_with_much_left_out_goes_on_when_it_comes_again(
    shop: Retailer, ten: int, recording: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await believes(shop, "correct")
    await stocked(shop, ten, A=5, B=6, C=7)
    monkeypatch.setattr(snapshot_end, "PAGE", 1)
    monkeypatch.setattr(snapshot_end, "MOST_PAGES", 2)
    end = final(ten)
    (result,) = await shop.tell(end)
    assert (result.status, result.reason) == ("waiting", "closing")
    assert await shop.statuses(end) == ["applied"]
    assert [await shop.on_hand(sku) for sku in ("A", "B", "C", "SKU-1")] == [0, 0, 0, 0]


async def test_a_line_that_could_not_be_applied_mentions_its_level(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")
    await stocked(shop, ten, A=5, B=6)
    told = [
        line(3, ten, sku="1", unit="PALLET"),
        line(-2, ten, sku="A"),  # an ERP may believe even that
        line(6, ten - 1, sku="B"),  # of another snapshot
    ]
    assert await shop.statuses(*told, final(ten)) == ["parked", "parked", "applied", "applied"]
    assert [await shop.on_hand(sku) for sku in ("SKU-1", "A", "B")] == [10, 5, 0]


async def test_an_end_does_not_overtake_lines_that_were_put_off(
    shop: Retailer, ten: int, recording: None, postgres: Postgres, ledger_url: str
) -> None:
    await believes(shop, "correct")
    told, end = line(10, ten), final(ten)
    with away(postgres, ledger_url):
        assert await shop.statuses(told) == ["waiting"]

    async def postgres_is_back() -> bool:
        (result,) = await shop.tell(end)
        return (result.status, result.reason) == ("waiting", "lines-waiting")

    await until(postgres_is_back)
    assert await shop.on_hand() == 10
    assert await shop.statuses(told, end) == ["applied", "applied"]
    assert await shop.on_hand() == 10


async def test_an_end_does_not_overtake_lines_that_another_process_put_off(
    shop: Retailer, ten: int, recording: None, postgres: Postgres, redis_url: str, ledger_url: str
) -> None:
    await believes(shop, "correct")
    told, end = line(10, ten), final(ten)
    async with retailer(redis_url, ledger_url) as other:
        await believes(other, "correct")
        with away(postgres, ledger_url):
            assert await other.statuses(told) == ["waiting"]

        async def postgres_is_back() -> bool:
            (result,) = await shop.tell(end)
            return (result.status, result.reason) == ("waiting", "lines-waiting")

        await until(postgres_is_back)
    assert await shop.statuses(told, end) == ["applied", "applied"]
    assert await shop.on_hand() == 10


async def test_an_end_does_not_overtake_lines_of_its_call_that_wait(
    shop: Retailer, ten: int, recording: None, postgres: Postgres, ledger_url: str
) -> None:
    await believes(shop, "correct")
    with away(postgres, ledger_url):
        results = await shop.tell(line(10, ten), final(ten), subject="atp.events.erp.stock")
    assert [result.reason for result in results] == ["ledger-away", "lines-waiting"]


async def test_an_end_does_not_overtake_lines_that_are_on_their_way(
    shop: Retailer, ten: int, recording: None, postgres: Postgres, ledger_url: str
) -> None:
    await believes(shop, "correct")
    name = str(conninfo_to_dict(ledger_url)["dbname"])
    with psycopg.connect(postgres.url("postgres", name)) as blocking:
        # What happened since the snapshot can't be added up as long as this is locked.
        blocking.execute("LOCK TABLE movements IN ACCESS EXCLUSIVE MODE")
        lines = asyncio.create_task(shop.statuses(line(9, ten)))

        async def on_their_way() -> bool:
            waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'movements'::regclass"
            return blocking.execute(waiting).rowcount > 0

        await until(on_their_way)
        end = asyncio.create_task(shop.statuses(final(ten)))
        done, _ = await asyncio.wait({end}, timeout=0.5)
        assert not done
    assert (await lines, await end) == (["applied"], ["applied"])
    assert await shop.on_hand() == 9


async def test_a_snapshot_and_sales_by_many_callers_agree(
    shop: Retailer, ten: int, recording: None
) -> None:
    await believes(shop, "correct")

    async def sell(till: int) -> None:
        for n in range(20):
            sold = event("sale", id=f"{till}-{n}", source=TILL, quantity=1, at_ms=ten + n + 1)
            assert await shop.statuses(sold) == ["applied"]

    async def tell() -> None:
        told = line(400, ten)
        while await shop.statuses(told) == ["waiting"]:
            pass

    await asyncio.gather(sell(1), tell(), sell(2), sell(3))
    assert await shop.on_hand() == 400 - 60


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"sku": "SKU-1"}, "$.data.quantity"),
        ({"quantity": 1}, "$.data.sku"),
        ({"final": True, "sku": "SKU-1"}, "$.data.quantity"),
        ({"final": True, "quantity": 1}, "$.data.sku"),
        ({"final": "yes"}, "$.data.final"),
        ({"sku": "SKU-1", "quantity": -1}, "$.data.quantity"),
    ],
)
async def test_a_line_needs_a_sku_and_a_quantity_and_an_end_both_or_none(
    shop: Retailer, data: dict[str, Any], path: str
) -> None:
    told = event("snapshot", source=ERP)
    told["data"] = {"location": DC, **data}
    (result,) = await shop.tell(told)
    assert (result.status, result.reason) == ("parked", "invalid")
    assert f"`{path}`" in (result.detail or "")
