"""Each type of event does what the contract says, with the data that its type needs."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from atp_service.facts import Arrival
from atp_service.inventory.commands import Adjustment, decode_command
from tests.recorders import last_seq
from tests.retailer import DC, STORE, TILL, Retailer, event, now_ms


async def test_a_sale_takes_units_even_below_zero(shop: Retailer) -> None:
    (result,) = await shop.tell(event("sale", quantity=3))
    assert (result.status, result.entry) == ("applied", (await shop.store.last_entries())[0])
    assert await shop.on_hand() == -3


async def test_a_restocked_return_can_be_sold_and_a_damaged_one_cannot(shop: Retailer) -> None:
    await shop.tell(
        event("return", quantity=2),
        event("return", quantity=1, disposition="damaged"),
        event("return", quantity=1, disposition="quality_control"),
    )
    level = await shop.level()
    assert (level.on_hand, level.unavailable, level.atf) == (4, 2, 2)


async def test_a_return_on_its_way_is_incoming_until_it_is_received(shop: Retailer) -> None:
    sent = event("return", id="r-1", quantity=2, disposition="in_transit")
    assert await shop.statuses(sent) == ["applied"]
    assert (await shop.on_hand(), await shop.incoming("returns")) == (0, 2)
    await shop.tell(event("receipt", quantity=2, document="returns"))
    assert (await shop.on_hand(), await shop.incoming("returns")) == (2, 0)


async def test_an_adjustment_goes_both_ways(shop: Retailer) -> None:
    await shop.tell(
        event("adjustment", quantity=5, reason="found"),
        event("adjustment", quantity=-7, reason="wet"),
    )
    assert await shop.on_hand() == -2


async def test_a_state_change_takes_units_from_sale_and_gives_them_back(shop: Retailer) -> None:
    await shop.tell(
        event("receipt", quantity=5),
        event("state_change", quantity=2, from_state="sellable", to_state="damaged"),
    )
    assert (await shop.level()).atf == 3
    await shop.tell(event("state_change", quantity=1, from_state="damaged", to_state="sellable"))
    assert (await shop.level()).atf == 4


async def test_what_is_expected_is_incoming_until_cancelled(shop: Retailer) -> None:
    await shop.tell(event("incoming", quantity=40, document="PO-1", eta="2026-12-01"))
    assert await shop.incoming("PO-1") == 40
    assert (await shop.level()).extras.documents["PO-1"].eta == "2026-12-01"
    await shop.tell(event("incoming", quantity=0, document="PO-1"))
    assert await shop.incoming("PO-1") == 0


@pytest.mark.parametrize("in_order", list(permutations(range(3))))
async def test_a_transfer_that_is_announced_and_sent_off_is_waited_for_once(
    shop: Retailer, in_order: tuple[int, ...]
) -> None:
    moved: dict[str, Any] = {"from": STORE, "to": DC, "document": "T-1"}
    told = [
        event("incoming", quantity=10, document="T-1"),
        event("transfer_shipped", quantity=4, **moved),
        event("transfer_shipped", quantity=6, **moved),
    ]
    await shop.tell(*(told[place] for place in in_order))
    assert await shop.incoming("T-1") == 10
    await shop.tell(event("transfer_received", quantity=10, **moved))
    assert (await shop.on_hand(), await shop.incoming("T-1")) == (10, 0)


@pytest.mark.parametrize("in_order", [(0, 1), (1, 0)])
async def test_what_was_cancelled_on_its_way_is_not_waited_for(
    shop: Retailer, in_order: tuple[int, ...]
) -> None:
    moved: dict[str, Any] = {"from": STORE, "to": DC, "document": "T-1"}
    then = now_ms()
    told = [
        event("transfer_shipped", quantity=10, at_ms=then - 2_000, **moved),
        event("incoming", quantity=0, document="T-1", at_ms=then - 1_000),
    ]
    await shop.tell(*(told[place] for place in in_order))
    assert await shop.incoming("T-1") == 0


async def test_a_heartbeat_needs_no_data_and_leaves_no_entry(shop: Retailer) -> None:
    beat = event("heartbeat", source=TILL)
    del beat["data"]
    assert await shop.statuses(beat) == ["applied"]
    assert await last_seq(shop.store) == 0
    assert TILL in await shop.store.feeds([TILL])


async def test_unknown_members_are_ignored(shop: Retailer) -> None:
    sale = event("sale", quantity=1, sequence=123, cashier="Ann", order_id=None)
    sale |= {"subject": "till 4", "comexampleextension": {"deep": [1]}}
    assert await shop.statuses(sale) == ["applied"]


@pytest.mark.parametrize(
    ("eta", "kept"),
    [
        ("2026-12-01", "2026-12-01"),
        ("2026-12-01T12:00:00Z", "2026-12-01T12:00:00.000Z"),
        ("2026-11-30T23:30:00-02:00", "2026-12-01T01:30:00.000Z"),
        ("2026-12-01T00:30:00.1239+05:30", "2026-11-30T19:00:00.123Z"),
        ("2026-12-01T00:30:00-00:00", "2026-12-01T00:30:00.000Z"),
    ],
)
async def test_an_eta_is_a_date_or_a_time_in_utc(shop: Retailer, eta: str, kept: str) -> None:
    moved: dict[str, Any] = {"from": STORE, "to": DC, "document": "T-1"}
    await shop.tell(
        event("incoming", quantity=40, document="PO-1", eta=eta),
        event("transfer_shipped", quantity=2, eta=eta, **moved),
    )
    documents = (await shop.level()).extras.documents
    assert (documents["PO-1"].eta, documents["T-1"].eta) == (kept, kept)


async def test_the_units_of_an_adjustment_count_however_much_is_said_about_them(
    shop: Retailer,
) -> None:
    words = ["found", "w" * 1_000, "w" * 1_001, "w" * 100_000]
    told = [event("adjustment", quantity=1, reason=reason) for reason in words]
    assert await shop.statuses(*told) == ["applied"] * 4
    entries = await shop.store.partitions[0].journal.entries(0, 10)
    cut = "w" * 999 + "…"
    commands = [decode_command(entry.command) for entry in entries]
    reasons = [command.reason for command in commands if isinstance(command, Adjustment)]
    assert reasons == ["found", "w" * 1_000, cut, cut]


IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
TRACE = f"00-{IDS}-01"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (TRACE, TRACE),
        (f"cc-{IDS}-09", f"cc-{IDS}-09"),
        (f"01-{IDS}-01-and-more", f"01-{IDS}-01"),
        (f"01-{IDS}-01-{'x' * 1_000}", f"01-{IDS}-01"),
        (f"01-{IDS}-01.", None),
        (f"{TRACE}-more", None),
        (f"{TRACE}\n", None),
        (f"ff-{IDS}-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        (TRACE.upper(), None),
        ("nonsense", None),
        ("x" * 100_000, None),
        ("a\0b", None),
        ("", None),
        (7, None),
        (["00"], None),
        (None, None),
    ],
)
async def test_a_trace_is_carried_into_the_journal_and_what_is_none_stops_no_fact(
    shop: Retailer, told: object, kept: str | None
) -> None:
    assert await shop.statuses(event("sale", quantity=1) | {"traceparent": told}) == ["applied"]
    (entry,) = await shop.store.partitions[0].journal.entries(0, 10)
    assert decode_command(entry.command).traceparent == kept


async def test_a_trace_beside_the_event_stands_in_for_one_that_is_none(shop: Retailer) -> None:
    told = msgspec.json.encode(event("sale", quantity=1) | {"traceparent": "nonsense"})
    await shop.facts.apply([Arrival(told, None, "the call", TRACE)])
    (entry,) = await shop.store.partitions[0].journal.entries(0, 10)
    assert decode_command(entry.command).traceparent == TRACE


async def test_units_other_than_the_base_unit_are_converted_exactly(shop: Retailer) -> None:
    await shop.tell(
        event("receipt", quantity=2, unit="CASE"),
        event("sale", quantity=6, unit="HALF"),
        event("sale", quantity=1, unit="EA"),
    )
    assert await shop.on_hand() == 24 - 3 - 1


async def test_a_feed_may_use_its_own_names(shop: Retailer) -> None:
    mapped = event("receipt", source="erp", sku="0001", location="W1", quantity=5)
    aliased = event("sale", source=TILL, sku="4711", location=STORE, quantity=1)
    scanned = event("sale", source=TILL, sku="05012345678900", location=STORE, quantity=1)
    moved: dict[str, Any] = {"from": "W1", "to": "S42", "document": "T-1"}
    sent = event("transfer_shipped", source="erp", sku="0001", quantity=2, **moved)
    assert await shop.statuses(mapped, aliased, scanned, sent) == ["applied"] * 4
    assert await shop.on_hand("SKU-1", DC) == 3
    assert await shop.on_hand("SKU-2", STORE) == -2
    assert await shop.incoming("T-1", STORE) == 2


async def test_an_alias_is_the_word_of_its_own_source_only(shop: Retailer) -> None:
    (result,) = await shop.tell(event("sale", sku="4711", quantity=1))
    assert (result.status, result.reason) == ("parked", "unknown-sku")
