"""Facts over HTTP: applied in order, answered one by one, never refused for lack of stock."""

import httpx2
import msgspec

from atp_service.api.responses import Call
from atp_service.api.stock_events import StockEvents
from atp_service.inventory.commands import decode_command
from tests.api.conftest import Service, stock_event
from tests.api.test_reservations import cart, problem

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_each_event_is_answered_in_order(shop: httpx2.AsyncClient) -> None:
    receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
    stranger = stock_event("sale", sku="NOPE", location="DC-1", quantity=1)
    events = [receipt, receipt, stranger, {"hello": "world"}, 7]
    answer = await shop.post("/v1/stock-events", json=events)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [
        "applied",
        "duplicate",
        "parked",
        "rejected",
        "rejected",
    ]
    assert (results[0]["source"], results[0]["id"]) == ("wms/dc-1", receipt["id"])
    assert (results[2]["reason"], results[2]["detail"]) == ("unknown-sku", "no sku NOPE")
    assert "detail" not in results[0]
    assert results[3]["detail"]


async def test_one_event_may_come_alone(shop: httpx2.AsyncClient) -> None:
    event = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
    answer = await shop.post("/v1/stock-events", json=event)
    assert [result["status"] for result in answer.json()["results"]] == ["applied"]


async def test_a_thousand_at_a_time(shop: httpx2.AsyncClient) -> None:
    problem(await shop.post("/v1/stock-events", json=[{}] * 1001), 422, "invalid")
    problem(await shop.post("/v1/stock-events", json=7), 422, "invalid")
    assert (await shop.post("/v1/stock-events", json=[])).json() == {"results": []}


async def test_an_answer_names_the_event_as_it_was_sent_whatever_it_is_kept_under(
    recorded_service: Service,
) -> None:
    told = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
    odd = [
        told | {"id": "x" * 65, "source": "till\t4"},
        told | {"id": "{7}"},
        told | {"id": "", "source": "till 4"},
        told | {"id": 7},
        told | {"id": "no data", "data": []},
    ]
    events = StockEvents(
        recorded_service.facts, recorded_service.store, recorded_service.ledger, "ledger"
    )
    body = msgspec.json.encode([*odd, *odd])
    # It waits for the entries by the names that these have.
    answer = await events.apply(Call("a call"), body)
    outcomes = answer.content.results
    assert [outcome.status for outcome in outcomes] == [
        *("parked", "parked", "rejected", "rejected", "parked"),
        *("duplicate", "duplicate", "rejected", "rejected", "duplicate"),
    ]
    for each, outcome in zip([*odd, *odd], outcomes, strict=True):
        names = [each[name] if isinstance(each[name], str) else None for name in ("source", "id")]
        assert [outcome.source, outcome.id] == names


async def test_a_traceparent_header_is_read_as_one_in_an_event_is(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    for trace in (f"ff{TRACE[2:]}", f"01{TRACE[2:]}-more"):
        event = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
        await shop.post("/v1/stock-events", json=event, headers={"traceparent": trace})
    entries = await service.store.partitions[0].journal.entries(0, 10)
    traces = [decode_command(entry.command).traceparent for entry in entries]
    assert traces == [None, f"01{TRACE[2:]}"]


async def test_what_needs_postgres_while_it_is_away_waits_and_is_told_from_the_rest(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
    count = stock_event("count", sku="SKU-1", location="DC-1", quantity=4)
    await shop.post("/v1/stock-events", json=receipt)
    await service.pool.close()
    answer = await shop.post("/v1/stock-events", json=[receipt, count])
    document = problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
    assert [result["status"] for result in document["results"]] == ["duplicate", "waiting"]
    assert document["results"][1]["reason"] == "ledger-away"


async def test_a_trace_is_carried_into_the_journal(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    event = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
    headers = {"traceparent": TRACE}
    await shop.post("/v1/stock-events", json=event, headers=headers)
    await shop.post("/v1/reservations", json=cart(), headers=headers)
    await shop.post("/v1/reservations", json=cart("cart-2"), headers={"traceparent": "nonsense"})
    entries = await service.store.partitions[0].journal.entries(0, 10)
    traces = [decode_command(entry.command).traceparent for entry in entries]
    assert traces == [TRACE, TRACE, None]
