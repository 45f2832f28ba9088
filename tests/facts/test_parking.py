"""What can't be applied is kept: with its payload, its reason and its owner. Nothing else stops."""

import base64
from typing import Any

import msgspec
import pytest

from atp_service.catalog import Sku
from atp_service.facts import Arrival
from atp_service.inventory.commands import Adjustment, decode_command
from atp_service.inventory.outcomes import Applied
from tests.recorders import last_seq
from tests.retailer import DC, WAREHOUSE, Retailer, event, now_ms

SUBJECT = "atp.events.pos.store-042"
DAY = 86_400_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

KINDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown-sku": (event("sale", sku="NEW-9", quantity=1), "NEW-9", "ecommerce"),
    "unknown-location": (event("sale", location="moon", quantity=1), "moon", "fulfilment"),
    "unknown-feed": (event("sale", source="pos/new", quantity=1), "pos/new", "integration"),
    "unknown-unit": (event("sale", quantity=1, unit="PALLET"), "SKU-1 PALLET", "ecommerce"),
    "unknown-type": (event("stocktake", quantity=1), "atp.stock.stocktake.v1", "integration"),
}


@pytest.mark.parametrize("reason", KINDS)
async def test_it_is_parked_with_reason_subject_owner_and_payload(
    shop: Retailer, ledger_url: str, reason: str
) -> None:
    told, subject, owner = KINDS[reason]
    async with shop.recording(ledger_url):
        (result,) = await shop.tell(told)
        assert (result.status, result.reason) == ("parked", reason)
    (row,) = await shop.ledger.exceptions(status="open")
    assert (row.kind, row.reference, row.owner) == (reason, subject, owner)
    assert row.payload is not None
    assert msgspec.json.decode(row.payload) == told
    assert await shop.on_hand() == 0


async def test_units_that_are_no_whole_number_are_parked(shop: Retailer) -> None:
    (result,) = await shop.tell(event("sale", quantity=3, unit="HALF"))
    assert (result.status, result.reason) == ("parked", "unknown-unit")


async def test_units_that_are_out_of_bounds_once_converted_are_parked(shop: Retailer) -> None:
    (result,) = await shop.tell(event("receipt", quantity=1_000_000_000, unit="CASE"))
    assert (result.status, result.reason) == ("parked", "unknown-unit")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"quantity": 0}, "$.data.quantity"),
        ({"quantity": 1_000_000_001}, "$.data.quantity"),
        ({"quantity": 1.5}, "$.data.quantity"),
        ({"quantity": "1"}, "$.data.quantity"),
        ({"quantity": True}, "$.data.quantity"),
        ({"quantity": None}, "$.data.quantity"),
        ({}, "$.data.quantity"),
        ({"quantity": 1, "sku": ""}, "$.data.sku"),
        ({"quantity": 1, "sku": "a" * 65}, "$.data.sku"),
        ({"quantity": 1, "sku": "a{b}"}, "$.data.sku"),
        ({"quantity": 1, "sku": "a\nb"}, "$.data.sku"),
        ({"quantity": 1, "location": "x" * 33}, "$.data.location"),
        ({"quantity": 1, "order_id": 17}, "$.data.order_id"),
        ({"quantity": 1, "order_id": "\x1f"}, "$.data.order_id"),
    ],
)
async def test_a_wrong_value_is_parked_and_the_message_points_to_it(
    shop: Retailer, data: dict[str, Any], path: str
) -> None:
    (result,) = await shop.tell(event("sale", **data))
    assert (result.status, result.reason) == ("parked", "invalid")
    assert f"`{path}`" in (result.detail or "")


# Much of it is a date or a time to Python, and a NUL between the two would be too.
NO_ETAS = [
    "soon",
    "",
    "20261201",
    "2026-W10-1",
    "2026-02-30",
    "2026-12-01\n",
    "2026-12-01T12:00:00",
    "2026-12-01T12:00Z",
    "2026-12-01 12:00:00Z",
    "2026-12-01\x0012:00:00",
    "2026-12-01\x0012:00:00Z",
    "2026-12-01T24:00:00Z",
    "2026-12-01T12:00:00+00:00:01",
    "2026-12-01T12:00:00+0100",
    "2026-12-01T12:00:00+24:00",
    "2026-12-01T12:00:00+01:60",
    "٢٠٢٦-12-01",
    "0001-01-01T00:00:00+01:00",  # is no time in UTC
]


@pytest.mark.parametrize(
    ("kind", "data", "path"),
    [
        ("adjustment", {"quantity": 0}, "$.data.quantity"),
        ("adjustment", {"quantity": -1_000_000_001}, "$.data.quantity"),
        ("adjustment", {"quantity": 1, "reason": "\0"}, "$.data.reason"),
        ("count", {"quantity": -1}, "$.data.quantity"),
        ("return", {"quantity": 1, "disposition": "eaten"}, "$.data.disposition"),
        ("incoming", {"quantity": 1}, "$.data.document"),
        *(
            (kind, {"quantity": 1, "document": "D-1", "eta": eta, **way}, "$.data.eta")
            for kind, way in [("incoming", {}), ("transfer_shipped", {"from": "a", "to": "b"})]
            for eta in NO_ETAS
        ),
        ("state_change", {"quantity": 1, "from_state": "a", "to_state": "a"}, "$.data.to_state"),
        ("transfer_shipped", {"quantity": 1, "to": "a", "document": "T"}, "$.data.from"),
        ("transfer_shipped", {"quantity": 1, "from": "a", "to": "b"}, "$.data.document"),
        ("transfer_shipped", {"quantity": 1, "from": "a", "to": "a", "document": "T"}, "$.data.to"),
    ],
)
async def test_each_type_has_bounds_of_its_own(
    shop: Retailer, kind: str, data: dict[str, Any], path: str
) -> None:
    (result,) = await shop.tell(event(kind, **data))
    assert (result.status, result.reason) == ("parked", "invalid")
    assert f"`{path}`" in (result.detail or "")


@pytest.mark.parametrize(
    ("envelope", "path"),
    [
        ({"time": "2026-11-23T10:00:00"}, "$.time"),
        ({"time": "yesterday"}, "$.time"),
        ({"time": "0001-01-01T00:00:00Z"}, "$.time"),
        ({"time": None}, "$.time"),
        ({"specversion": "0.3"}, "$.specversion"),
        ({"id": "x" * 65}, "$.id"),
        ({"source": "pos\t1"}, "$.source"),
        ({"data": []}, "$.data"),
    ],
)
async def test_a_wrong_envelope_is_parked_too(
    shop: Retailer, envelope: dict[str, Any], path: str
) -> None:
    wrong = event("sale", quantity=1) | envelope
    (result,) = await shop.tell(wrong)
    assert (result.status, result.reason) == ("parked", "invalid")
    assert f"`{path}`" in (result.detail or "")
    assert await shop.statuses(wrong) == ["duplicate"]


async def test_what_is_no_cloudevent_is_rejected_by_http(shop: Retailer) -> None:
    for payload in (b"", b"hello", b"[]", b"{}", b'{"specversion":"1.0","id":1}', b"\xff"):
        (result,) = await shop.tell(payload)
        assert (result.status, result.reason) == ("rejected", "malformed")
    assert await last_seq(shop.store) == 0


async def test_an_answer_names_the_event_as_its_sender_does(shop: Retailer) -> None:
    told = event("sale", quantity=1)
    odd = [
        told | {"id": "x" * 65},
        told | {"id": "{7}", "source": "till\t4"},
        told | {"id": "", "source": "till 4"},
        told | {"id": 7},
    ]
    for each in [*odd, *odd]:
        (result,) = await shop.tell(each)
        assert result.status in ("parked", "rejected", "duplicate")
        names = [each[name] if isinstance(each[name], str) else None for name in ("source", "id")]
        assert [result.source, result.id] == names


async def test_what_is_no_cloudevent_is_parked_when_it_came_by_nats(
    shop: Retailer, ledger_url: str
) -> None:
    async with shop.recording(ledger_url):
        for payload in (b"hello", b"\xff\xfe\x00", b'{"a": "' + b"\x00" + b'"}'):
            (result,) = await shop.tell(payload, subject=SUBJECT)
            assert (result.status, result.reason) == ("parked", "malformed")
    (row,) = await shop.ledger.exceptions()
    assert (row.kind, row.reference, row.owner, row.count) == (
        "malformed",
        SUBJECT,
        "integration",
        3,
    )


async def test_a_payload_that_is_no_text_is_kept_in_base64_with_a_mark(
    shop: Retailer, ledger_url: str
) -> None:
    async with shop.recording(ledger_url):
        await shop.tell(b"\xff\xfe\x00", subject=SUBJECT)
    (row,) = await shop.ledger.exceptions()
    assert row.payload == b"base64:" + base64.b64encode(b"\xff\xfe\x00")


async def test_the_same_malformed_message_delivered_again_is_parked_once(shop: Retailer) -> None:
    arrival = Arrival(b"hello", SUBJECT, "ATP_EVENTS/7/1")
    results = [*await shop.facts.apply([arrival]), *await shop.facts.apply([arrival])]
    assert [result.status for (result,) in results] == ["parked", "duplicate"]


async def test_a_native_payload_waits_for_its_adapter(shop: Retailer, ledger_url: str) -> None:
    async with shop.recording(ledger_url):
        (result,) = await shop.tell(b"ISA*00*", subject="atp.raw.x12.3pl.acme")
        assert (result.status, result.reason) == ("parked", "no-adapter")
    (row,) = await shop.ledger.exceptions()
    assert (row.reference, row.payload) == ("x12", b"ISA*00*")


async def test_an_event_from_the_future_is_parked_but_clocks_may_differ(shop: Retailer) -> None:
    near = event("sale", quantity=1, at_ms=now_ms() + 290_000)
    far = event("sale", quantity=1, at_ms=now_ms() + 310_000)
    assert [(r.status, r.reason) for r in await shop.tell(near, far)] == [
        ("applied", None),
        ("parked", "future-time"),
    ]


async def test_one_bad_event_stops_none_of_its_neighbours(shop: Retailer) -> None:
    good = [event("receipt", quantity=1) for _ in range(3)]
    statuses = await shop.statuses(
        good[0], b"?", good[1], event("sale", sku="?", quantity=1), good[2]
    )
    assert statuses == ["applied", "rejected", "applied", "parked", "applied"]
    assert await shop.on_hand() == 3


async def test_many_messages_of_one_cause_are_one_exception_with_a_count(
    shop: Retailer, ledger_url: str
) -> None:
    async with shop.recording(ledger_url):
        for quantity in range(1, 6):
            await shop.tell(event("sale", sku="NEW-9", quantity=quantity))
        await shop.tell(event("sale", sku="NEW-8", quantity=1))
    rows = {row.reference: row.count for row in await shop.ledger.exceptions()}
    assert rows == {"NEW-9": 5, "NEW-8": 1}


EVERY_DAY = {
    "its SKU": event("sale", sku="NEW-9", quantity=1, at_ms=now_ms() - 3 * DAY),
    "its quantity": event("sale", quantity=0, at_ms=now_ms() - 3 * DAY),
    "its type": event("stocktake", quantity=1, at_ms=now_ms() - 3 * DAY),
    "its time": event("sale", quantity=1) | {"time": "yesterday"},
    "no time": {k: v for k, v in event("sale", quantity=1).items() if k != "time"},
    "its id": event("sale", quantity=1, at_ms=now_ms() - 3 * DAY) | {"id": "{}"},
    "the far future": event("sale", quantity=1, at_ms=now_ms() + 900 * DAY),
}


@pytest.mark.parametrize("why", EVERY_DAY)
async def test_an_event_that_cannot_be_applied_is_one_exception_though_it_comes_every_day(
    shop: Retailer, ledger_url: str, why: str
) -> None:
    began_at = now_ms()
    async with shop.recording(ledger_url):
        for status in ("parked", "duplicate", "duplicate"):
            assert await shop.statuses(EVERY_DAY[why]) == [status]
            await shop.recorded()
            await shop.forget_seen()
    (row,) = await shop.ledger.exceptions(status="open")
    assert row.count == 1
    assert row.first_at.timestamp() * 1_000 >= began_at  # when it was told, whatever it says
    # Nor does it make its feed fresher.
    assert await shop.store.feeds([WAREHOUSE]) == {}


async def test_an_event_that_was_applied_is_known_when_its_sku_no_longer_is(
    shop: Retailer, ledger_url: str
) -> None:
    sale = event("sale", sku="SKU-2", quantity=1, at_ms=now_ms() - 3 * DAY)
    async with shop.recording(ledger_url):
        assert await shop.statuses(sale) == ["applied"]
        await shop.recorded()
        await shop.forget_seen()
        await shop.catalog.delete(Sku, "SKU-2")
        assert await shop.statuses(sale) == ["duplicate"]
    assert [row.kind for row in await shop.ledger.exceptions(status="open")] == ["negative-stock"]


async def test_what_was_put_aside_keeps_its_trace(shop: Retailer) -> None:
    told = [event("sale", sku="NEW-9", quantity=1), event("sale", quantity=1, at_ms=now_ms() + DAY)]
    await shop.tell(*[each | {"traceparent": TRACE} for each in told])
    entries = await shop.store.partitions[0].journal.entries(0, 10)
    assert [decode_command(entry.command).traceparent for entry in entries] == [TRACE, TRACE]


async def test_an_event_the_script_stumbles_over_is_parked(shop: Retailer) -> None:
    brim = Adjustment(
        source="repair",
        event_id="1",
        occurred_at_ms=now_ms(),
        sku="SKU-1",
        location=DC,
        quantity=2**53 - 1,
    )
    assert isinstance(await shop.store.apply(brim), Applied)
    too_much, fine = event("receipt", quantity=10**9), event("sale", quantity=1)
    assert [(r.status, r.reason) for r in await shop.tell(too_much, fine)] == [
        ("parked", "faulted"),
        ("applied", None),
    ]
    assert await shop.on_hand() == 2**53 - 2
