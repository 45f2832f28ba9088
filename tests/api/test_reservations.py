"""Promises over HTTP, on a real Redis and a real ledger: what a checkout sees."""

import asyncio
from itertools import count
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from atp_service.catalog import Catalog, Channel, Feed, Location, Sku
from atp_service.embedded.postgres import Postgres
from atp_service.inventory.stock import level_field
from atp_service.store.keys import keys_of
from tests.api.conftest import Service, Stocked, caller, serving, stock_event
from tests.recorders import recording
from tests.retailer import fresh_database, until


def cart(
    reservation_id: str | None = "cart-1", *, quantity: int = 2, **members: Any
) -> dict[str, Any]:
    line = {"sku": "SKU-1", "location": "DC-1", "quantity": quantity}
    body: dict[str, Any] = {"channel": "web", "lines": [line], **members}
    if reservation_id is not None:
        body["reservation_id"] = reservation_id
    return body


def problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document, checked for what every one has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:atp:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


async def hold(shop: httpx2.AsyncClient, **members: Any) -> httpx2.Response:
    return await shop.post("/v1/reservations", json=cart(**members))


async def test_a_cart_is_held_and_the_whole_document_answered(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    answer = await hold(shop, customer_id="c-7")
    assert answer.status_code == 201
    document = answer.json()
    assert document.pop("created_at").endswith("Z")
    assert len(document.pop("expires_at")) == len("2026-11-23T10:00:00.000Z")
    assert document == {
        "reservation_id": "cart-1",
        "status": "held",
        "generation": 1,
        "channel": "web",
        "customer_id": "c-7",
        "order_id": None,
        "lines": [
            {
                "line_id": "1",
                "sku": "SKU-1",
                "location": "DC-1",
                "quantity": 2,
                "reserved": 2,
                "allocated": 0,
                "fulfilled": 0,
                "released": 0,
            }
        ],
    }
    assert (await shop.get("/v1/reservations/cart-1")).json() == answer.json()


async def test_asking_twice_holds_once_and_says_so(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    first = await hold(shop)
    again = await hold(shop, ttl_seconds=60)
    assert "idempotent-replayed" not in first.headers
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


async def test_an_id_belongs_to_its_content(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(5)
    await hold(shop)
    problem(await hold(shop, quantity=3), 422, "reservation-id-reused")


async def test_the_last_unit_goes_to_one_buyer(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(1)
    answers = await asyncio.gather(
        *(hold(shop, reservation_id=f"cart-{n}", quantity=1) for n in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_every_short_line_is_reported(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(1)
    lines = [
        {"sku": "SKU-1", "location": "DC-1", "quantity": 2},
        {"line_id": "b", "sku": "SKU-2", "location": "DC-1", "quantity": 1},
    ]
    answer = await shop.post("/v1/reservations", json={"lines": lines})
    assert problem(answer, 409, "insufficient-stock")["shortages"] == [
        {"line_id": "1", "sku": "SKU-1", "location": "DC-1", "requested": 2, "available": 1},
        {"line_id": "b", "sku": "SKU-2", "location": "DC-1", "requested": 1, "available": 0},
    ]


async def test_of_lines_that_share_a_level_those_that_no_longer_fit_are_short(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    lines = [{"sku": "SKU-1", "location": "DC-1", "quantity": units} for units in (3, 4, 1)]
    answer = await shop.post("/v1/reservations", json={"lines": lines})
    told = problem(answer, 409, "insufficient-stock")["shortages"]
    assert [(line["line_id"], line["requested"], line["available"]) for line in told] == [
        ("2", 4, 2),
        ("3", 1, 0),
    ]


async def test_a_part_is_held_where_a_part_is_wanted(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    answer = await hold(shop, allow_partial=True)
    assert answer.status_code == 201
    assert answer.json()["lines"][0]["reserved"] == 1


async def test_a_key_makes_a_hold_without_id_safe_to_repeat(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    headers = {"idempotency-key": "checkout-77"}
    body = cart(None)
    first = await shop.post("/v1/reservations", json=body, headers=headers)
    again = await shop.post("/v1/reservations", json=body, headers=headers)
    other = await shop.post("/v1/reservations", json=body)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["reservation_id"] == again.json()["reservation_id"]
    assert other.json()["reservation_id"] != first.json()["reservation_id"]


async def test_who_is_unknown_is_named(shop: httpx2.AsyncClient) -> None:
    lines = [
        {"line_id": "a", "sku": "NOPE", "location": "DC-1", "quantity": 1},
        {"line_id": "b", "sku": "SKU-1", "location": "NOWHERE", "quantity": 1},
    ]
    named = problem(await shop.post("/v1/reservations", json={"lines": lines}), 422, "unknown-sku")
    assert named["lines"] == [{"line_id": "a", "sku": "NOPE", "location": "DC-1"}]
    named = problem(
        await shop.post("/v1/reservations", json={"lines": lines[1:]}), 422, "unknown-location"
    )
    assert named["lines"] == [{"line_id": "b", "sku": "SKU-1", "location": "NOWHERE"}]
    answer = await shop.post("/v1/reservations", json=cart(channel="bazaar"))
    assert problem(answer, 422, "unknown-channel")["channel"] == "bazaar"


async def test_a_channel_is_created_on_first_sight_where_that_is_wanted(
    redis_url: str, database_url: str
) -> None:
    async with serving(redis_url, database_url, auto_create=True) as service:
        await service.catalog.ensure(skus=["SKU-1"], locations=["DC-1"])
        async with caller(service) as shop:
            problem(await hold(shop, channel="bazaar"), 409, "insufficient-stock")
            assert (await shop.get("/v1/channels/bazaar")).status_code == 200


async def test_the_body_of_the_hold_may_be_sent_again_to_replace_it(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    body = cart(ttl_seconds=60, customer_id="c-7", allow_partial=False, durability="redis")
    await shop.post("/v1/reservations", json=body)
    body["lines"][0]["quantity"] = 3
    replaced = await shop.put("/v1/reservations/cart-1", json=body)
    assert (replaced.status_code, replaced.json()["generation"]) == (200, 2)
    body["reservation_id"] = "cart-2"
    refused = problem(await shop.put("/v1/reservations/cart-1", json=body), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == ["/reservation_id"]


async def test_a_closed_location_sells_nothing_but_remembers(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    held = await hold(shop)
    await service.catalog.put(Location(id="DC-1", kind="dc", status="closed"))
    refused = problem(await hold(shop, reservation_id="cart-2"), 409, "location-unavailable")
    assert refused["lines"][0]["reason"] == "closed"
    assert (await hold(shop)).json() == held.json()
    problem(await hold(shop, quantity=1), 422, "reservation-id-reused")
    await service.catalog.put(Location(id="DC-1", kind="dc", channels=["store"]))
    refused = problem(await hold(shop, reservation_id="cart-2"), 409, "location-unavailable")
    assert refused["lines"][0]["reason"] == "channel"


@pytest.mark.parametrize(("kind", "key"), [(Sku, "SKU-1"), (Location, "DC-1"), (Channel, "web")])
async def test_who_asks_again_hears_what_they_were_told_also_of_what_was_deleted_since(
    shop: httpx2.AsyncClient,
    stocked: Stocked,
    service: Service,
    kind: type[Sku | Location | Channel],
    key: str,
) -> None:
    await stocked(5)
    held = await hold(shop)
    await hold(shop, reservation_id="cart-2")
    changed = cart("cart-2", quantity=1)
    replaced = await shop.put("/v1/reservations/cart-2", json=changed)
    await service.catalog.delete(kind, key)
    unknown = f"unknown-{kind.__name__.lower()}"
    for answer in (await hold(shop), await shop.post("/v1/reservations/", json=cart())):
        assert (answer.status_code, answer.json()) == (200, held.json())
        assert answer.headers["idempotent-replayed"] == "true"
    again = await shop.put("/v1/reservations/cart-2", json=changed)
    assert (again.status_code, again.json()) == (200, replaced.json())
    # What nobody was told of is refused as of a stranger: unknown comes before reused.
    for members in (
        {"reservation_id": "new"},
        {"quantity": 1},
        {"customer_id": "c-7"},
        {"reservation_id": "cart-2"},
    ):
        problem(await hold(shop, **members), 422, unknown)
    confirmed = await shop.post("/v1/reservations/cart-1/confirm", json={"order_id": "O-1"})
    again = await hold(shop)
    assert (again.status_code, again.json()["status"]) == (200, "confirmed")
    assert confirmed.status_code == 200


async def test_what_a_reservation_is_past_is_said_before_that_a_location_is_closed(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    await hold(shop)
    await hold(shop, reservation_id="cart-2", quantity=1)
    await shop.put("/v1/reservations/cart-1", json=cart(quantity=1))
    await shop.post("/v1/reservations/cart-2/confirm", json={"order_id": "O-1"})
    await service.catalog.put(Location(id="DC-1", kind="dc", status="closed"))
    changed = cart(quantity=3)
    stale = await shop.put("/v1/reservations/cart-1", json=changed | {"if_generation": 1})
    problem(stale, 412, "generation-mismatch")
    ordered = await shop.put("/v1/reservations/cart-2", json=changed | cart("cart-2", quantity=3))
    problem(ordered, 409, "reservation-not-held")
    for generation in (2, None):
        answer = await shop.put(
            "/v1/reservations/cart-1", json=changed | {"if_generation": generation}
        )
        problem(answer, 409, "location-unavailable")
    problem(await shop.put("/v1/reservations/nobody", json=cart("nobody")), 404, "not-found")


async def test_the_same_lines_on_a_channel_that_the_location_is_closed_for_are_no_repeat(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    await service.catalog.put(Channel(id="store"))
    await service.catalog.put(Location(id="DC-1", kind="dc", channels=["web"]))
    await hold(shop)
    for members in ({"channel": "store"}, {"channel": "store", "customer_id": "c-7"}):
        answer = await shop.put("/v1/reservations/cart-1", json=cart() | members)
        problem(answer, 409, "location-unavailable")
    assert (await shop.get("/v1/reservations/cart-1")).json()["generation"] == 1


async def test_a_changed_cart_replaces_its_lines_and_keeps_its_channel(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await hold(shop, customer_id="c-7")
    lines = [{"sku": "SKU-1", "location": "DC-1", "quantity": 5}]
    answer = await shop.put("/v1/reservations/cart-1", json={"lines": lines, "if_generation": 1})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["generation"], document["lines"][0]["reserved"]) == (2, 5)
    assert (document["channel"], document["customer_id"]) == ("web", "c-7")
    repeat = await shop.put("/v1/reservations/cart-1", json={"lines": lines, "if_generation": 1})
    assert repeat.headers["idempotent-replayed"] == "true"
    lines[0]["quantity"] = 4
    stale = await shop.put("/v1/reservations/cart-1", json={"lines": lines, "if_generation": 1})
    assert problem(stale, 412, "generation-mismatch")["generation"] == 2
    lines[0]["quantity"] = 6
    short = await shop.put("/v1/reservations/cart-1", json={"lines": lines})
    assert problem(short, 409, "insufficient-stock")["shortages"][0]["available"] == 5
    problem(await shop.put("/v1/reservations/cart-9", json={"lines": lines}), 404, "not-found")


async def test_what_a_channel_withholds_is_minded_by_the_first_who_sells_on_it(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    """Also where another process has only just described it."""
    await stocked(5)
    await Catalog(service.pool).put(Channel(id="outlet", safety_stock=4))
    refused = problem(await hold(shop, channel="outlet"), 409, "insufficient-stock")
    assert refused["shortages"][0]["available"] == 1


async def test_a_replace_that_comes_again_after_the_confirm_is_a_repeat(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    cart_url = "/v1/reservations/cart-1"
    await hold(shop, quantity=1)
    body = {"lines": [{"line_id": "1", "sku": "SKU-1", "location": "DC-1", "quantity": 2}]}
    assert (await shop.put(cart_url, json=body)).json()["generation"] == 2
    confirmed = await shop.post(f"{cart_url}/confirm", json={"order_id": "order-1"})
    again = await shop.put(cart_url, json=body)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["lines"] == confirmed.json()["lines"]
    body["lines"][0]["quantity"] = 3
    problem(await shop.put(cart_url, json=body), 409, "reservation-not-held")


@pytest.mark.parametrize("kind", [Location, Sku])
async def test_a_part_that_was_held_is_no_way_around_who_is_closed_or_unknown(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service, kind: type[Location | Sku]
) -> None:
    await stocked(2)
    await hold(shop, quantity=5, allow_partial=True)
    await stocked(5)
    if kind is Location:
        await service.catalog.put(Location(id="DC-1", status="closed"))
    else:
        await service.catalog.delete(Sku, "SKU-1")
    body = {"channel": "web", "lines": cart(quantity=5)["lines"]}
    refused = await shop.put("/v1/reservations/cart-1", json=body)
    if kind is Location:
        problem(refused, 409, "location-unavailable")
    else:
        problem(refused, 422, "unknown-sku")
    again = await shop.put("/v1/reservations/cart-1", json=body | {"allow_partial": True})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_a_cart_of_which_units_have_left_is_not_replaced_and_told_why(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await hold(shop, quantity=3)
    sold = {"sku": "SKU-1", "location": "DC-1", "quantity": 1, "reservation_id": "cart-1"}
    await shop.post("/v1/stock-events", json=stock_event("sale", **sold))
    body = {"lines": [{"sku": "SKU-1", "location": "DC-1", "quantity": 2}]}
    refused = problem(
        await shop.put("/v1/reservations/cart-1", json=body), 409, "reservation-not-held"
    )
    assert "have left" in refused["detail"]


async def test_from_cart_to_doorstep(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(5)
    await hold(shop, quantity=4)
    cart_url = "/v1/reservations/cart-1"
    extended = await shop.post(f"{cart_url}/extend", json={"ttl_seconds": 60})
    assert extended.status_code == 200
    confirmed = await shop.post(f"{cart_url}/confirm", json={"order_id": "order-1"})
    assert confirmed.status_code == 200
    assert confirmed.json()["outcome"] == "kept"
    assert confirmed.json()["expires_at"] is None
    repeat = await shop.post(f"{cart_url}/confirm", json={"order_id": "order-1"})
    assert repeat.headers["idempotent-replayed"] == "true"
    assert repeat.json() == confirmed.json()
    other = await shop.post(f"{cart_url}/confirm", json={"order_id": "order-2"})
    assert problem(other, 409, "already-confirmed")["order_id"] == "order-1"
    late = await shop.post(f"{cart_url}/extend", json={"ttl_seconds": 60})
    problem(late, 409, "reservation-not-held")
    one = [{"line_id": "1", "quantity": 1}]
    assert (await shop.post(f"{cart_url}/release", json={"lines": one})).status_code == 200
    not_found = {"line_id": "1", "quantity": 1, "reason": "not_in_stock"}
    assert (await shop.post(f"{cart_url}/no-pick", json=not_found)).status_code == 200
    shipped = await shop.post(f"{cart_url}/fulfil", json={"lines": one, "shipment_id": "s-1"})
    assert shipped.status_code == 200
    again = await shop.post(f"{cart_url}/fulfil", json={"lines": one, "shipment_id": "s-1"})
    assert again.headers["idempotent-replayed"] == "true"
    rest = await shop.post(f"{cart_url}/fulfil")
    assert rest.json()["status"] == "fulfilled"
    assert rest.json()["lines"][0]["fulfilled"] == 2


async def test_only_what_is_open_can_leave(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(5)
    await hold(shop)
    cart_url = "/v1/reservations/cart-1"
    early = await shop.post(f"{cart_url}/fulfil")
    assert problem(early, 409, "reservation-not-confirmed")["reservation_status"] == "held"
    await shop.post(f"{cart_url}/confirm", json={"order_id": "order-1"})
    too_many = await shop.post(
        f"{cart_url}/fulfil", json={"lines": [{"line_id": "1", "quantity": 3}]}
    )
    assert problem(too_many, 409, "quantity-not-open")["lines"] == [
        {"line_id": "1", "requested": 3, "open": 2}
    ]
    no_such_line = await shop.post(
        f"{cart_url}/fulfil", json={"lines": [{"line_id": "9", "quantity": 1}]}
    )
    assert problem(no_such_line, 422, "invalid")["errors"][0]["pointer"] == "/lines/0/line_id"
    elsewhere = await shop.post(f"{cart_url}/fulfil", json={"location": "NOWHERE"})
    problem(elsewhere, 422, "unknown-location")


async def test_a_released_cart_cannot_be_confirmed(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    await hold(shop)
    released = await shop.post("/v1/reservations/cart-1/release")
    assert released.json()["status"] == "released"
    answer = await shop.post("/v1/reservations/cart-1/confirm", json={"order_id": "order-1"})
    problem(answer, 409, "reservation-not-held")


async def test_a_late_confirm_takes_the_units_again_or_says_they_are_gone(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(2)
    await hold(shop, reservation_id="slow", ttl_seconds=1)
    await hold_lapses(shop, "slow")
    kept = await shop.post("/v1/reservations/slow/confirm", json={"order_id": "order-1"})
    assert kept.json()["outcome"] == "reacquired"
    await stocked(2)
    await hold(shop, reservation_id="slower", ttl_seconds=1)
    await hold_lapses(shop, "slower")
    assert (await hold(shop, reservation_id="quick")).status_code == 201
    lost = await shop.post("/v1/reservations/slower/confirm", json={"order_id": "order-2"})
    assert problem(lost, 409, "reservation-lost")["shortages"][0]["available"] == 0


async def hold_lapses(shop: httpx2.AsyncClient, reservation_id: str) -> None:
    url = f"/v1/reservations/{reservation_id}"
    async with asyncio.timeout(5):
        while (await shop.get(url)).json()["status"] == "held":  # noqa: ASYNC110  # Redis's clock
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("call", ["extend", "confirm", "release", "fulfil", "no-pick"])
async def test_nobody_changes_a_cart_that_is_not_there(shop: httpx2.AsyncClient, call: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "extend": {"ttl_seconds": 60},
        "confirm": {"order_id": "order-1"},
        "no-pick": {"line_id": "1", "quantity": 1, "reason": "damaged"},
    }
    answer = await shop.post(f"/v1/reservations/nobody/{call}", json=bodies.get(call, {}))
    problem(answer, 404, "not-found")


async def test_an_id_may_hold_a_slash(shop: httpx2.AsyncClient, stocked: Stocked) -> None:
    await stocked(5)
    await hold(shop, reservation_id="web/cart 1")
    assert (await shop.get("/v1/reservations/web%2Fcart%201")).status_code == 200
    confirmed = await shop.post(
        "/v1/reservations/web%2Fcart%201/confirm", json={"order_id": "order-1"}
    )
    assert confirmed.json()["reservation_id"] == "web/cart 1"


async def test_the_ledger_tier_waits_and_admits_that_it_has_not_heard(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    # Nobody records here, so the entry can't reach Postgres; the hold itself stands.
    await stocked(5)
    problem(await hold(shop, durability="ledger"), 503, "unavailable")
    repeat = await hold(shop)
    assert repeat.headers["idempotent-replayed"] == "true"
    problem(await hold(shop, durability="ledger"), 503, "unavailable")


async def test_the_ledger_tier_answers_once_it_is_in_postgres(
    redis_url: str, postgres: Postgres
) -> None:
    with fresh_database(postgres) as database_url:
        async with serving(redis_url, database_url) as service, caller(service) as shop:
            await service.catalog.put(Location(id="DC-1"))
            await service.catalog.put(Sku(sku="SKU-1"))
            await service.catalog.put(Feed(id="wms/dc-1"))
            receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
            await shop.post("/v1/stock-events", json=receipt)
            async with recording(service.store, database_url):
                held = await hold(shop, channel=None, durability="ledger")
                assert held.status_code == 201, held.text
                recorded = await service.ledger.reservation("cart-1")
                assert recorded is not None
                assert recorded.status == "held"
                url = "/v1/reservations/cart-1/confirm"
                body = {"order_id": "order-1", "durability": "ledger"}
                assert (await shop.post(url, json=body)).status_code == 200
                recorded = await service.ledger.reservation("cart-1")
                assert recorded is not None
                assert recorded.order_id == "order-1"


async def test_a_damaged_hold_is_answered_from_the_ledger_and_never_called_unknown(
    recorded_service: Service, redis: Redis
) -> None:
    async with caller(recorded_service) as shop:
        receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
        await shop.post("/v1/stock-events", json=receipt)
        held = (await hold(shop, ttl_seconds=1, durability="ledger")).json()
        await redis.hset(keys_of(0).reservations, "cart-1", b"\xc1")
        url = "/v1/reservations/cart-1"
        problem(await shop.put(url, json=cart(quantity=1)), 503, "unavailable")
        page = "/v1/availability"
        asked = {"skus": ["SKU-1"], "exclude_reservation": "cart-1"}
        assert (await shop.post(page, json=asked)).json()["items"][0]["ats"] == 3

        async def has_expired() -> bool:
            status: str = (await shop.get(url)).json()["status"]
            return status == "expired"

        await until(has_expired)
        assert (await shop.get(url)).json()["expires_at"] == held["expires_at"]


async def test_a_damaged_level_refuses_until_it_is_repaired_and_changes_nothing(
    recorded_service: Service, redis: Redis
) -> None:
    async with caller(recorded_service) as shop:
        receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
        await shop.post("/v1/stock-events", json=receipt)
        assert (await hold(shop, reservation_id="before")).status_code == 201
        stock, level = keys_of(0).stock, level_field("SKU-1", "DC-1")
        sound = await redis.hget(stock, level)
        await redis.hset(stock, level, b"\xc1")
        answer = await hold(shop)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        problem(await shop.post("/v1/reservations/before/release"), 503, "unavailable")
        assert (await shop.get("/v1/reservations/cart-1")).status_code == 404
        await redis.hset(stock, level, sound)
        assert (await shop.get("/v1/reservations/before")).json()["status"] == "held"
        assert (await hold(shop)).status_code == 201


async def test_a_nearly_full_redis_takes_facts_and_releases_and_no_more_holds(
    shop: httpx2.AsyncClient, stocked: Stocked, redis: Redis
) -> None:
    await stocked(10_000)
    assert (await hold(shop)).status_code == 201
    number = count(2)
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used * 1.1))
    try:

        async def refused() -> bool:
            # Memory is looked at once a second.
            answer = await hold(shop, reservation_id=f"cart-{next(number)}")
            return answer.status_code == 503

        await until(refused)
        answer = await hold(shop, reservation_id=f"cart-{next(number)}")
        problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"]
        changed = {"lines": [{"sku": "SKU-1", "location": "DC-1", "quantity": 1}]}
        problem(await shop.put("/v1/reservations/cart-1", json=changed), 503, "overloaded")
        await stocked(1)
        assert (await shop.post("/v1/reservations/cart-1/release")).status_code == 200
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_cart_over_two_partitions_is_refused_by_name(
    redis_url: str, database_url: str
) -> None:
    lines = [
        {"line_id": sku, "sku": sku, "location": "DC-1", "quantity": 1}
        for sku in ("SKU-1", "SKU-2")
    ]
    async with (
        serving(redis_url, database_url, auto_create=True, partitions=3) as service,
        caller(service) as shop,
    ):
        for sku in ("SKU-1", "SKU-2"):
            await service.catalog.put(Sku(sku=sku))
            event = stock_event("receipt", sku=sku, location="DC-1", quantity=5)
            assert (await shop.post("/v1/stock-events", json=event)).status_code == 200
        document = problem(await hold(shop, lines=lines), 422, "cart-spans-partitions")
        assert [line["sku"] for line in document["lines"]] == ["SKU-2"]
        assert (await hold(shop, lines=lines[:1])).status_code == 201
        answer = await shop.get("/v1/availability?sku=SKU-1&sku=SKU-2")
        assert [item["ats"] for item in answer.json()["items"]] == [4, 5]


async def test_a_late_confirm_takes_nothing_from_a_location_that_has_closed_meanwhile(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    await hold(shop, reservation_id="slow", ttl_seconds=1)
    await hold_lapses(shop, "slow")
    await service.catalog.put(Location(id="DC-1", kind="dc", status="closed"))
    order = {"order_id": "order-1"}
    lost = await shop.post("/v1/reservations/slow/confirm", json=order)
    (short,) = problem(lost, 409, "reservation-lost")["shortages"]
    assert (short["available"], short["reason"]) == (0, "closed")
    await service.catalog.put(Location(id="DC-1", kind="dc"))
    kept = await shop.post("/v1/reservations/slow/confirm", json=order)
    assert kept.json()["outcome"] == "reacquired"


async def test_a_sku_that_is_not_active_is_not_sold(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    held = await hold(shop)
    await service.catalog.put(Sku(sku="SKU-1", active=False))
    refused = problem(await hold(shop, reservation_id="cart-2"), 409, "sku-unavailable")
    assert refused["lines"][0]["sku"] == "SKU-1"
    assert (await hold(shop)).json() == held.json()
    (item,) = (await shop.get("/v1/availability?sku=SKU-1")).json()["items"]
    assert item["ats"] == 0
