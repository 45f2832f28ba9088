"""How many can be sold: the terms add up, and a bad id never fails a page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from atp_service.catalog import Channel, Location
from tests.api.conftest import Service, Stocked, caller, serving, stock_event
from tests.api.test_reservations import cart, problem


async def post_event(shop: httpx2.AsyncClient, kind: str, **data: Any) -> None:
    answer = await shop.post("/v1/stock-events", json=stock_event(kind, **data))
    assert answer.json()["results"][0]["status"] == "applied", answer.text


async def test_the_terms_of_a_number(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await service.catalog.put(Channel(id="web", safety_stock=1))
    await stocked(12)
    await post_event(
        shop,
        "state_change",
        sku="SKU-1",
        location="DC-1",
        quantity=1,
        from_state="sellable",
        to_state="damaged",
    )
    await post_event(
        shop,
        "incoming",
        sku="SKU-1",
        location="DC-1",
        quantity=40,
        document="PO-1",
        eta="2126-12-01",
    )
    await shop.post("/v1/reservations", json=cart("held"))
    await shop.post("/v1/reservations", json=cart("ordered", quantity=3))
    await shop.post("/v1/reservations/ordered/confirm", json={"order_id": "order-1"})
    answer = await shop.get("/v1/availability?sku=SKU-1&location=DC-1&channel=web")
    assert answer.status_code == 200
    document = answer.json()
    assert document["channel"] == "web"
    (item,) = document["items"]
    (place,) = item.pop("locations")
    assert item == {"sku": "SKU-1", "ats": 5, "atf": 6, "shortage": 0}
    assert place.pop("updated_at")
    (feed,) = place.pop("feeds")
    assert (feed["feed"], feed["stale"]) == ("wms/dc-1", False)
    assert place == {
        "location": "DC-1",
        "ats": 5,
        "atf": 6,
        "on_hand": 12,
        "unavailable": {"damaged": 1},
        "reserved": 2,
        "allocated": 3,
        "safety_stock": 1,
        "incoming": [{"document": "PO-1", "eta": "2126-12-01", "quantity": 40}],
        "version": 6,
    }


async def test_items_come_in_the_order_asked_and_strangers_are_listed(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    answer = await shop.get("/v1/availability?sku=SKU-2&sku=NOPE&sku=SKU-1")
    items = answer.json()["items"]
    assert [item["sku"] for item in items] == ["SKU-2", "NOPE", "SKU-1"]
    assert items[1]["known"] is False
    assert [item["ats"] for item in items] == [0, 0, 1]
    assert [len(item["locations"]) for item in items] == [0, 0, 1]
    assert "known" not in items[0]


async def test_several_locations_add_up_and_a_level_that_never_was_is_zero(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(3)
    body = {"skus": ["SKU-1"], "locations": ["store-042", "DC-1"]}
    (item,) = (await shop.post("/v1/availability", json=body)).json()["items"]
    assert (item["ats"], [place["ats"] for place in item["locations"]]) == (3, [0, 3])
    never = item["locations"][0]
    assert (never["version"], never["updated_at"], never["incoming"]) == (0, None, [])


async def test_a_location_asked_for_twice_is_counted_once(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(3)
    await stocked(2, location="store-042")
    places = ["DC-1", "store-042", "DC-1"]
    query = {"sku": ["SKU-1", "SKU-1"], "location": places}
    for answer in (
        await shop.get("/v1/availability", params=query),
        await shop.get("/v1/availability/", params=query),
        await shop.post("/v1/availability", json={"skus": query["sku"], "locations": places}),
        await shop.post(
            "/v1/availability", json={"skus": query["sku"], "locations": places, "days": 1}
        ),
    ):
        items = answer.json()["items"]
        assert [(item["sku"], item["ats"], item["atf"]) for item in items] == [("SKU-1", 5, 5)] * 2
        assert [place["location"] for place in items[0]["locations"]] == ["DC-1", "store-042"]
        assert {item["days"][0]["atp"] for item in items if "days" in item} <= {5}


async def test_nothing_can_be_sold_where_a_hold_would_be_refused(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    await stocked(3, location="store-042")
    await service.catalog.put(Location(id="store-042", name="High Street", channels=["store"]))
    query = {"sku": "SKU-1", "channel": "web"}
    (item,) = (await shop.get("/v1/availability", params=query)).json()["items"]
    assert {p["location"]: (p["ats"], p["atf"]) for p in item["locations"]} == {
        "DC-1": (5, 5),
        "store-042": (0, 3),
    }
    assert item["ats"] == 5
    answer = await shop.post(
        "/v1/reservations",
        json={
            "channel": "web",
            "lines": [{"sku": "SKU-1", "location": "store-042", "quantity": 1}],
        },
    )
    problem(answer, 409, "location-unavailable")


async def test_a_level_sold_below_zero_shows_its_shortage(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    await post_event(shop, "sale", sku="SKU-1", location="DC-1", quantity=4)
    (item,) = (await shop.get("/v1/availability?sku=SKU-1")).json()["items"]
    assert (item["ats"], item["atf"], item["shortage"]) == (0, -3, 3)


async def test_units_on_their_way_can_be_promised_for_the_day_they_come(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    await post_event(shop, "sale", sku="SKU-1", location="DC-1", quantity=3)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    await post_event(
        shop, "incoming", sku="SKU-1", location="DC-1", quantity=10, document="PO-1", eta=tomorrow
    )
    body = {"skus": ["SKU-1"], "days": 3}
    (item,) = (await shop.post("/v1/availability", json=body)).json()["items"]
    assert [day["atp"] for day in item["days"]] == [0, 8, 8]
    assert item["days"][1]["date"] == tomorrow
    assert item["locations"][0]["days"] == item["days"]


async def test_units_that_arrive_at_a_moment_count_from_its_day_in_utc(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    today = datetime.now(UTC).date()
    tomorrow, after = today + timedelta(days=1), today + timedelta(days=2)
    # Late in the evening of a day somewhere west, and early in the morning of one somewhere east.
    for document, eta in [("W", f"{today}T23:30:00-02:00"), ("E", f"{after}T00:30:00+02:00")]:
        arrives = {"sku": "SKU-1", "location": "DC-1", "document": document, "eta": eta}
        await post_event(shop, "incoming", quantity=10, **arrives)
    body = {"skus": ["SKU-1"], "days": 3}
    (item,) = (await shop.post("/v1/availability", json=body)).json()["items"]
    assert [day["atp"] for day in item["days"]] == [1, 21, 21]
    assert [due["eta"] for due in item["locations"][0]["incoming"]] == [
        f"{tomorrow}T01:30:00.000Z",
        f"{tomorrow}T22:30:00.000Z",
    ]


async def test_a_cart_sees_what_it_could_have_itself(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(2)
    await shop.post("/v1/reservations", json=cart())
    body = {"skus": ["SKU-1"], "exclude_reservation": "cart-1"}
    (mine,) = (await shop.post("/v1/availability", json=body)).json()["items"]
    (theirs,) = (await shop.post("/v1/availability", json={"skus": ["SKU-1"]})).json()["items"]
    assert (mine["ats"], theirs["ats"]) == (2, 0)


async def test_a_feed_that_was_never_heard_of_is_stale(shop: httpx2.AsyncClient) -> None:
    feed = {"kind": "pos", "locations": ["store-042"], "freshness_seconds": 60}
    assert (await shop.put("/v1/feeds/pos/store-042", json=feed)).status_code == 200
    answer = await shop.get("/v1/availability?sku=SKU-1&location=store-042")
    (place,) = answer.json()["items"][0]["locations"]
    assert place["feeds"] == [{"feed": "pos/store-042", "lag_seconds": None, "stale": True}]


async def test_a_levels_own_safety_stock_wins(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await service.catalog.put(Channel(id="web", safety_stock=1))
    await stocked(5)
    url = "/v1/skus/SKU-1/locations/DC-1"
    assert (await shop.get(url)).json()["safety_stock"] is None
    assert (await shop.put(url, json={"safety_stock": 4})).status_code == 200
    (item,) = (await shop.get("/v1/availability?sku=SKU-1&channel=web")).json()["items"]
    assert (item["ats"], item["atf"]) == (1, 5)
    refused = await shop.post("/v1/reservations", json=cart())
    assert problem(refused, 409, "insufficient-stock")["shortages"][0]["available"] == 1
    await shop.put(url, json={"safety_stock": None})
    assert (await shop.get(url)).json()["safety_stock"] is None
    (item,) = (await shop.get("/v1/availability?sku=SKU-1&channel=web")).json()["items"]
    assert item["ats"] == 4


async def test_asking_about_a_mistyped_channel_does_not_create_it(
    redis_url: str, database_url: str
) -> None:
    async with (
        serving(redis_url, database_url, auto_create=True) as service,
        caller(service) as shop,
    ):
        receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
        await shop.post("/v1/stock-events", json=receipt)
        await service.catalog.put(Channel(id="web", safety_stock=2))
        for asked in (
            await shop.get("/v1/availability?sku=SKU-1&channel=wbe"),
            await shop.post("/v1/availability", json={"skus": ["SKU-1"], "channel": "wbe"}),
        ):
            assert asked.json()["items"][0]["ats"] == 5
        assert set(service.catalog.channels) == {"web"}
        assert (await shop.post("/v1/reservations", json=cart(channel="pos"))).status_code == 201
        assert set(service.catalog.channels) == {"web", "pos"}


async def test_a_location_without_the_sku_has_none_of_it_whoever_knows_the_location(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(5)
    path = "/v1/availability?sku=SKU-1&location=NOWHERE&location=store-042&location=DC-1"
    (item,) = (await shop.get(path)).json()["items"]
    rows = [(row["location"], row["ats"], row["version"]) for row in item["locations"]]
    assert rows == [("NOWHERE", 0, 0), ("store-042", 0, 0), ("DC-1", 5, 1)]
    assert item["ats"] == 5


async def test_what_cannot_be_asked(shop: httpx2.AsyncClient) -> None:
    problem(await shop.get("/v1/availability"), 422, "invalid")
    problem(await shop.get("/v1/availability?sku="), 422, "invalid")
    problem(await shop.get("/v1/availability?sku=SKU-1&channel=bazaar"), 422, "unknown-channel")
    bodies: list[dict[str, Any]] = [
        {"skus": []},
        {"skus": ["SKU-1"], "location_group": "north"},
        {"skus": ["SKU-1"] * 1001},
        {"skus": ["SKU-1"] * 1000, "locations": [f"L-{n}" for n in range(11)]},
        {"skus": ["SKU-1"], "locations": [f"L-{n}" for n in range(300)], "days": 366},
        {"skus": ["SKU-1"], "days": 0},
    ]
    for body in bodies:
        problem(await shop.post("/v1/availability", json=body), 422, "invalid")
