"""Everything tied to an id, whatever it is the id of: by reservation, order, shipment, document and
event, in the order of time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from redis.asyncio import Redis

from atp_service.catalog import Sku
from atp_service.embedded.postgres import Postgres
from atp_service.inventory.commands import Expire
from atp_service.inventory.outcomes import Swept
from tests.api.conftest import Service, Stocked, stock_event
from tests.api.test_reservations import cart, problem
from tests.retailer import away, until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def service(recorded_service: Service) -> Service:
    """Here entries reach the ledger."""
    return recorded_service


async def traced(shop: httpx2.AsyncClient, key: str) -> dict[str, Any]:
    answer = await shop.get(f"/v1/trace/{quote(key, safe='/')}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document["id"] == key
    times = [(entry["at"], entry["seq"]) for entry in document["entries"]]
    assert times == sorted(times)
    return document


def kinds(document: dict[str, Any]) -> list[str]:
    return [entry["kind"] for entry in document["entries"]]


async def tell(shop: httpx2.AsyncClient, kind: str, **members: Any) -> dict[str, Any]:
    """An event of the warehouse; answers it, as it was sent."""
    data = {"sku": "SKU-1", "location": "DC-1"} | members.pop("data", {})
    event = stock_event(kind, **data) | members
    answer = await shop.post("/v1/stock-events", json=event)
    assert answer.json()["results"][0]["status"] in ("applied", "parked"), answer.text
    return event


async def ordered(shop: httpx2.AsyncClient, key: str, order_id: str, *, quantity: int = 1) -> None:
    held = await shop.post("/v1/reservations", json=cart(key, quantity=quantity))
    assert held.status_code == 201, held.text
    answer = await shop.post(f"/v1/reservations/{key}/confirm", json={"order_id": order_id})
    assert answer.status_code == 200, answer.text


async def test_an_order_from_its_cart_to_its_parcel(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await shop.post("/v1/reservations", json=cart(), headers={"traceparent": TRACE})
    await shop.post(
        "/v1/reservations/cart-1/confirm",
        json={"order_id": "order-1"},
        headers={"traceparent": OTHER_TRACE},
    )
    shipped = {"shipment_id": "parcel-1", "erp_document": "GI-4711"}
    await shop.post("/v1/reservations/cart-1/fulfil", json=shipped)
    story = await traced(shop, "order-1")
    assert story["found_as"] == ["order"]
    assert (story["reservations"], story["orders"]) == (["cart-1"], ["order-1"])
    assert story["traceparents"] == [TRACE, OTHER_TRACE]
    assert (story["exceptions"], story["truncated"]) == ([], False)
    hold, confirm, fulfil = story["entries"]
    assert hold == {
        "at": hold["at"],
        "seq": 2,
        "epoch": 1,
        "kind": "hold",
        "reservation_id": "cart-1",
        "status": "held",
        "channel": "web",
        "traceparent": TRACE,
        "lines": [{"line_id": "1", "sku": "SKU-1", "location": "DC-1", "quantity": 2}],
        "levels": [
            {
                "sku": "SKU-1",
                "location": "DC-1",
                "on_hand_delta": 0,
                "on_hand": 5,
                "reserved": 2,
                "allocated": 0,
                "unavailable": 0,
                "version": 2,
            }
        ],
    }
    assert (confirm["order_id"], confirm["status"], confirm["outcome"]) == (
        "order-1",
        "confirmed",
        "kept",
    )
    assert (fulfil["shipment_id"], fulfil["erp_document"]) == ("parcel-1", "GI-4711")
    assert (fulfil["order_id"], fulfil["status"]) == ("order-1", "fulfilled")
    assert [level["on_hand_delta"] for level in fulfil["levels"]] == [-2]
    for key, found_as in (
        ("cart-1", "reservation"),
        ("parcel-1", "shipment"),
        ("GI-4711", "document"),
    ):
        same = await traced(shop, key)
        assert same["found_as"] == [found_as]
        assert same["entries"] == story["entries"]


async def test_a_truck_carries_many_orders_and_each_has_its_own_story(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    for number in (1, 2):
        await ordered(shop, f"cart-{number}", f"order-{number}")
        await shop.post(f"/v1/reservations/cart-{number}/fulfil", json={"shipment_id": "truck-7"})
    truck = await traced(shop, "truck-7")
    assert truck["found_as"] == ["shipment"]
    assert (truck["reservations"], truck["orders"]) == (
        ["cart-1", "cart-2"],
        ["order-1", "order-2"],
    )
    assert kinds(truck) == ["hold", "confirm", "fulfil"] * 2
    one = await traced(shop, "order-1")
    assert kinds(one) == ["hold", "confirm", "fulfil"]
    assert (one["reservations"], one["orders"]) == (["cart-1"], ["order-1"])


async def test_a_sale_that_came_before_its_order_is_part_of_its_story(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await tell(shop, "sale", data={"quantity": 1, "order_id": "order-1"})
    early = await traced(shop, "order-1")
    assert (early["found_as"], kinds(early)) == (["order"], ["sale"])
    assert early["reservations"] == []
    await ordered(shop, "cart-1", "order-1")
    story = await traced(shop, "order-1")
    assert kinds(story) == ["sale", "hold", "confirm"]
    assert story["entries"][-1]["status"] == "fulfilled"


async def test_an_order_of_two_carts_that_one_sale_fulfils(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await ordered(shop, "cart-1", "order-1")
    await ordered(shop, "cart-2", "order-1")
    await tell(shop, "sale", data={"quantity": 2, "order_id": "order-1"})
    story = await traced(shop, "cart-2")
    assert kinds(story) == ["hold", "confirm", "hold", "confirm", "sale"]
    sale = story["entries"][-1]
    assert sale["statuses"] == {"cart-1": "fulfilled", "cart-2": "fulfilled"}
    assert (sale["order_id"], "reservation_id" in sale) == ("order-1", False)


async def test_a_payment_that_came_too_late_shows_the_lapse_and_what_was_taken_again(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    await shop.post("/v1/reservations", json=cart(ttl_seconds=1))

    async def lapsed() -> bool:
        outcome = await service.store.apply(Expire(limit=10))
        return isinstance(outcome, Swept) and outcome.reaped > 0

    await until(lapsed)
    await shop.post("/v1/reservations/cart-1/confirm", json={"order_id": "order-1"})
    story = await traced(shop, "order-1")
    assert kinds(story) == ["hold", "lapse", "confirm"]
    _, lapse, confirm = story["entries"]
    assert (lapse["reservation_id"], lapse["status"]) == ("cart-1", "expired")
    assert (confirm["outcome"], confirm["status"]) == ("reacquired", "confirmed")


async def test_units_the_store_could_not_find(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(5)
    await ordered(shop, "cart-1", "order-1", quantity=2)
    missing = {"line_id": "1", "quantity": 1, "reason": "damaged"}
    await shop.post("/v1/reservations/cart-1/no-pick", json=missing)
    last = (await traced(shop, "order-1"))["entries"][-1]
    assert (last["kind"], last["line_id"], last["quantity"], last["reason"]) == (
        "no_pick",
        "1",
        1,
        "damaged",
    )
    (level,) = last["levels"]
    assert (level["on_hand"], level["allocated"], level["unavailable"]) == (5, 1, 1)


async def test_an_event_by_its_own_id_and_the_document_it_speaks_of(
    shop: httpx2.AsyncClient,
) -> None:
    expected = await tell(shop, "incoming", data={"quantity": 8, "document": "PO-1"})
    arrived = await tell(shop, "receipt", data={"quantity": 8, "document": "PO-1"})
    story = await traced(shop, "PO-1")
    assert (story["found_as"], kinds(story)) == (["document"], ["incoming", "receipt"])
    story = await traced(shop, arrived["id"])
    assert (story["found_as"], kinds(story)) == (["event"], ["receipt"])
    (receipt,) = story["entries"]
    assert (receipt["source"], receipt["event_id"]) == ("wms/dc-1", arrived["id"])
    assert (receipt["document"], receipt["quantity"]) == ("PO-1", 8)
    assert receipt["occurred_at"] == arrived["time"]
    assert kinds(await traced(shop, expected["id"])) == ["incoming"]


async def test_an_event_goes_on_to_the_order_it_speaks_of(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await ordered(shop, "cart-1", "order-1")
    sale = await tell(shop, "sale", data={"quantity": 1, "order_id": "order-1"}, traceparent=TRACE)
    story = await traced(shop, sale["id"])
    assert story["found_as"] == ["event"]
    assert kinds(story) == ["hold", "confirm", "sale"]
    assert story["traceparents"] == [TRACE]


async def test_one_id_of_two_sources_tells_both_stories(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    for source in ("wms/dc-1", "pos/store-042"):
        await tell(shop, "sale", id="000001", source=source, data={"quantity": 1})
    story = await traced(shop, "000001")
    assert [entry["source"] for entry in story["entries"]] == ["wms/dc-1", "pos/store-042"]


async def test_what_was_parked_shows_the_queue_it_waits_in(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    parked = await tell(shop, "sale", data={"sku": "NOPE", "quantity": 1})
    story = await traced(shop, parked["id"])
    assert (story["found_as"], kinds(story)) == (["event"], ["park"])
    (exception,) = story["exceptions"]
    assert (exception["kind"], exception["owner"]) == ("unknown-sku", "ecommerce")
    assert story["entries"][0]["reason"] == "unknown-sku"
    assert parked["id"] in exception["payload"]


async def test_an_order_shipped_twice_shows_the_exception_that_names_it(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await ordered(shop, "cart-1", "order-1")
    for _ in range(2):
        await tell(shop, "sale", data={"quantity": 1, "order_id": "order-1"})
    for key in ("order-1", "cart-1"):
        (exception,) = (await traced(shop, key))["exceptions"]
        assert (exception["kind"], exception["reference"]) == ("already-fulfilled", "order-1")


@pytest.mark.parametrize(
    "key", ["a/b", "/a", "a/", "a//b", "Zähler 7%", "50%25", "a?b#c", "s" * 64, "a+b&c=d", "..;"]
)
async def test_an_id_may_hold_any_printable_character(
    shop: httpx2.AsyncClient, stocked: Stocked, key: str
) -> None:
    await stocked(5)
    assert (await shop.post("/v1/reservations", json=cart(key))).status_code == 201
    escaped = await shop.get(f"/v1/trace/{quote(key, safe='')}")
    assert escaped.json()["id"] == key, escaped.text
    assert escaped.json()["reservations"] == [key]


async def test_a_slash_inside_an_id_need_not_be_escaped(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    for key in ("shop/eu/cart-1", "/cart", "cart/", "//cart//", "/"):
        held = await shop.post("/v1/reservations", json=cart(key, quantity=1))
        assert held.status_code == 201, held.text
        assert (await traced(shop, key))["found_as"] == ["reservation"]


async def test_what_the_service_names_itself_can_be_traced(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    """The end of a snapshot says 0 of what it did not mention: by its own id and the SKU's."""
    sku = "s" * 64
    await service.catalog.put(Sku(sku=sku))
    await stocked(5, sku=sku)
    told_at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    end = "e" * 64
    final = stock_event("snapshot", location="DC-1", final=True) | {"id": end, "time": told_at}

    async def ended() -> bool:
        answer = await shop.post("/v1/stock-events", json=final)
        return bool(answer.json()["results"][0]["status"] == "applied")

    await until(ended, 20)
    story = await traced(shop, f"{end}#{sku}")
    assert story["found_as"] == ["event"]


async def test_more_than_can_be_told_is_told_from_the_beginning(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await shop.post("/v1/reservations", json=cart("endless", quantity=1))
    for _ in range(11):
        await asyncio.gather(
            *(
                shop.post("/v1/reservations/endless/extend", json={"ttl_seconds": 900})
                for _ in range(100)
            )
        )
    story = await traced(shop, "endless")
    assert (len(story["entries"]), story["truncated"]) == (1_000, True)
    assert kinds(story)[0] == "hold"
    assert story["entries"][-1]["seq"] == 1_001


async def test_an_id_that_nothing_is_known_of(shop: httpx2.AsyncClient) -> None:
    problem(await shop.get("/v1/trace/who-knows"), 404, "not-found")
    problem(await shop.get("/v1/trace/"), 404, "not-found")
    for longest in ("s" * 65, "s" * 129):
        problem(await shop.get(f"/v1/trace/{longest}"), 404, "not-found")
    for unfit in ("s" * 130, "a%0Ab", "%7B0%7D"):
        answer = await shop.get(f"/v1/trace/{unfit}")
        assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/id"


async def test_without_redis_the_ledger_answers_alone(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service, redis: Redis
) -> None:
    await stocked(5)
    await shop.post("/v1/reservations", json=cart())
    story = await traced(shop, "cart-1")
    await redis.flushall()
    problem(await shop.get("/v1/availability?sku=SKU-1"), 503, "fenced")
    assert await traced(shop, "cart-1") == story


async def test_without_postgres_nothing_is_traced_and_selling_goes_on(
    shop: httpx2.AsyncClient, stocked: Stocked, postgres: Postgres, ledger_url: str
) -> None:
    await stocked(5)
    with away(postgres, ledger_url):
        assert (await shop.post("/v1/reservations", json=cart())).status_code == 201
        answer = await shop.get("/v1/trace/cart-1")
        assert "repeat" not in problem(answer, 503, "unavailable")["detail"]
        assert answer.headers["retry-after"]

    async def back() -> bool:
        return (await shop.get("/v1/trace/cart-1")).status_code == 200

    await until(back, 20)
