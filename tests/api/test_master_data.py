"""Master data as people keep it: put, get, list, delete; and wrong values pointed at."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.api.conftest import Service, Stocked, caller, stock_event
from tests.api.test_reservations import hold, problem

LOCATION = {
    "name": "High Street",
    "kind": "store",
    "lat": 51.5,
    "lon": -0.1,
    "timezone": "Europe/London",
    "opening_hours": "Mo-Sa 09:00-18:00",
    "pickup": {"enabled": True, "lead_minutes": 30, "daily_cap": 40, "cutoff": "17:00"},
    "ship": {"enabled": False},
    "channels": ["web"],
    "status": "active",
}
SKU = {
    "name": "A mug",
    "base_unit": "EA",
    "units": {"CASE": 12, "HALF": "1/2", "KG": "0.25"},
    "aliases": {"gtin": ["05012345678900"], "erp": ["100-200"]},
    "substitutes": ["SKU-2"],
    "active": True,
}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/locations/store-1", LOCATION, "id"),
        ("/v1/locations/a%2Fb%20c", {}, "id"),
        ("/v1/skus/MUG", SKU, "sku"),
        ("/v1/channels/marketplace-x", {"name": "X", "safety_stock": 3}, "id"),
        ("/v1/feeds/pos/store-042", {"kind": "pos", "locations": ["store-042"]}, "id"),
        ("/v1/feeds/pos%2Fstore-042", {"freshness_seconds": 60, "owner": "stores"}, "id"),
    ],
)
async def test_what_is_put_is_there_until_it_is_deleted(
    shop: httpx2.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    put = await shop.put(path, json=body)
    assert put.status_code == 200, put.text
    document = put.json()
    for name, value in body.items():
        if isinstance(value, dict):
            assert value.items() <= document[name].items()
        else:
            assert document[name] == value
    assert (await shop.get(path)).json() == document
    assert (await shop.put(path, json=document)).json() == document
    assert (await shop.put(path, json={**document, field: "other"})).status_code == 422
    collection = "/".join(path.split("/")[:3])
    assert document in (await shop.get(collection)).json()["items"]
    assert (await shop.delete(path)).json() == document
    problem(await shop.get(path), 404, "not-found")
    problem(await shop.delete(path), 404, "not-found")


ODD_IDS = [
    "/lead",
    "trail/",
    "//",
    "a//b",
    "a+b",
    "a b",
    " ",
    "a%2Fb",
    "50%",
    "Zähler 日本",
    "?#&;=",
    "..",
]


def escaped(id_: str) -> str:
    """The id as it stands in a path; two dots alone would lead elsewhere."""
    return quote(id_, safe="").replace(".", "%2E")


@pytest.mark.parametrize("kind", ["skus", "locations", "channels", "feeds"])
async def test_an_id_reaches_its_own_record_whatever_stands_in_it(
    shop: httpx2.AsyncClient, kind: str
) -> None:
    """What cannot happen: a record is changed by the id of another. Those that a slip would reach
    are there too: the id stripped, its escapes read twice or not at all."""
    field = "sku" if kind == "skus" else "id"
    collection = f"/v1/{kind}"
    for other in ("lead", "trail", "a/b", "a", "b", "a%2Bb", "a%252Fb", "50%25", "locations"):
        await shop.put(f"{collection}/{escaped(other)}", json={})
    before = (await shop.get(collection)).json()["items"]
    for odd in ODD_IDS:
        path = f"{collection}/{escaped(odd)}"
        problem(await shop.delete(path), 404, "not-found")
        put = await shop.put(path, json={})
        assert put.json()[field] == odd
        assert (await shop.get(path)).json() == put.json()
        assert (await shop.delete(path)).json() == put.json()
        problem(await shop.get(path), 404, "not-found")
    assert (await shop.get(collection)).json()["items"] == before


async def test_a_level_is_found_by_odd_ids_too(shop: httpx2.AsyncClient) -> None:
    for odd in ODD_IDS:
        await shop.put(f"/v1/skus/{escaped(odd)}", json={})
        await shop.put(f"/v1/locations/{escaped(odd)}", json={})
        path = f"/v1/skus/{escaped(odd)}/locations/{escaped(odd)}"
        own = {"sku": odd, "location": odd, "safety_stock": 2}
        assert (await shop.put(path, json={"safety_stock": 2})).json() == own
        assert (await shop.get(path)).json() == own


async def test_a_reservation_is_found_by_odd_ids_too(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(100)
    for odd in ODD_IDS:
        held = (await hold(shop, reservation_id=odd)).json()
        path = f"/v1/reservations/{escaped(odd)}"
        assert (await shop.get(path)).json() == held
        assert (await shop.post(f"{path}/release")).json()["reservation_id"] == odd


async def test_a_feeds_id_is_taken_as_it_is(shop: httpx2.AsyncClient) -> None:
    for id_ in ("pos/store-042", "pos/store-042/", "pos//store-042", "/pos/store-042"):
        assert (await shop.put(f"/v1/feeds/{id_}", json={})).json()["id"] == id_


async def test_an_id_left_unescaped_reaches_nobody_elses_record(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/skus//SKU-1", "//v1/skus/SKU-1", "/v1/skus//SKU-1/locations/DC-1"):
        problem(await shop.delete(path), 404, "not-found")
    assert (await shop.get("/v1/skus/SKU-1")).status_code == 200


@pytest.mark.parametrize(
    ("path", "unknown"),
    [("/v1/skus/SKU-1", "unknown-sku"), ("/v1/locations/DC-1", "unknown-location")],
)
async def test_who_deletes_what_has_stock_stops_promises_and_breaks_none(
    shop: httpx2.AsyncClient, stocked: Stocked, path: str, unknown: str
) -> None:
    await stocked(10)
    for cart in ("to-confirm", "to-release", "to-fulfil"):
        assert (await hold(shop, reservation_id=cart)).status_code == 201
    await shop.post("/v1/reservations/to-fulfil/confirm", json={"order_id": "O-1"})
    record = (await shop.get(path)).json()
    assert (await shop.delete(path)).json() == record

    problem(await hold(shop, reservation_id="new"), 422, unknown)
    sale = stock_event("sale", sku="SKU-1", location="DC-1", quantity=1)
    (told,) = (await shop.post("/v1/stock-events", json=sale)).json()["results"]
    assert (told["status"], told["reason"]) == ("parked", unknown)
    page = (await shop.get("/v1/availability?sku=SKU-1&sku=SKU-2")).json()["items"]
    assert [item["ats"] for item in page] == [0, 0]
    assert page[0].get("known", True) is (unknown != "unknown-sku")
    for call, body in (
        ("to-confirm/confirm", {"order_id": "O-2"}),
        ("to-release/release", {}),
        ("to-fulfil/fulfil", {}),
    ):
        assert (await shop.post(f"/v1/reservations/{call}", json=body)).status_code == 200

    await shop.put(path, json=record)
    (item,) = (await shop.get("/v1/availability?sku=SKU-1")).json()["items"]
    (level,) = item["locations"]
    assert (level["on_hand"], level["reserved"], level["allocated"]) == (8, 0, 2)
    assert (item["ats"], level["ats"]) == (6, 6)
    assert (await hold(shop, reservation_id="new")).status_code == 201


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/locations/x", {"lat": 91, "lon": 0}, "/lat"),
        ("/v1/locations/x", {"lat": 1.0}, "/lon"),
        ("/v1/locations/x", {"timezone": "Mars/Olympus"}, "/timezone"),
        ("/v1/locations/x", {"kind": "shed"}, "/kind"),
        ("/v1/locations/" + "x" * 33, {}, "/id"),
        ("/v1/skus/x", {"units": {"CASE": 0}}, "/units/CASE"),
        ("/v1/skus/x", {"units": {"CASE": "twelve"}}, "/units/CASE"),
        ("/v1/skus/x", {"units": {"CASE": 12, "EA": 5}}, "/units/EA"),
        ("/v1/skus/x", {"base_unit": "KG", "units": {"EA": 5, "KG": "1/2"}}, "/units/KG"),
        ("/v1/skus/x", {"units": {"CASE": 12, "BOX": 1.5, "EACH": 1}}, "/units/BOX"),
        ("/v1/skus/x", {"units": {"CASE": 12, "": 1}}, "/units/"),
        ("/v1/skus/x", {"units": {"1/2 {": 1}}, "/units/1~12 {"),
        ("/v1/skus/x", {"aliases": {"erp": ["a"], "gtin": [1]}}, "/aliases/gtin/0"),
        ("/v1/skus/x", {"aliases": {"erp": ["a"], "gtin": 1}}, "/aliases/gtin"),
        ("/v1/skus/x", {"aliases": {"pos/~1": ["a", "b\n"]}}, "/aliases/pos~1~01/1"),
        ("/v1/skus/x", {"name": 7}, "/name"),
        ("/v1/skus/x", {"components": [{"sku": "x"}]}, "/components"),
        ("/v1/channels/x", {"safety_stock": -1}, "/safety_stock"),
        ("/v1/feeds/x", {"snapshot": "maybe"}, "/snapshot"),
        ("/v1/feeds/x", {"freshness_seconds": 0}, "/freshness_seconds"),
        ("/v1/feeds/x", {"location_map": {"W1": "DC-1", "W2": ""}}, "/location_map/W2"),
        (
            "/v1/feeds/x",
            {"sku_map": {"1": "SKU-1", "2": "{"}, "freshness_seconds": 2**70},
            "/sku_map/2",
        ),
        ("/v1/feeds/x", {"sku/~map": {}}, "/sku~1~0map"),
        ("/v1/skus/SKU-1/locations/DC-1", {"safety_stock": -1}, "/safety_stock"),
    ],
)
async def test_a_wrong_value_is_pointed_at(
    shop: httpx2.AsyncClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    document = problem(await shop.put(path, json=body), 422, "invalid")
    assert document["errors"][0]["pointer"] == pointer


async def test_of_a_map_of_thousands_the_one_wrong_entry_is_pointed_at(
    shop: httpx2.AsyncClient,
) -> None:
    sku_map = {f"theirs-{n}": f"SKU-{n}" for n in range(10_000)} | {"theirs-777": 7}
    document = problem(await shop.put("/v1/feeds/x", json={"sku_map": sku_map}), 422, "invalid")
    assert document["errors"] == [
        {"pointer": "/sku_map/theirs-777", "message": "Expected `str`, got `int`"}
    ]
    assert document["detail"] == "/sku_map/theirs-777: Expected `str`, got `int`"


async def test_another_name_is_of_one_sku_alone(shop: httpx2.AsyncClient) -> None:
    async def named(sku: str, *gtins: str, **aliases: list[str]) -> httpx2.Response:
        body = {"units": {"EA": 1}, "aliases": {"gtin": list(gtins), **aliases}}
        return await shop.put(f"/v1/skus/{sku}", json=body)

    assert (await named("MUG", "050", "051", "050")).status_code == 200
    assert (await named("CUP", "052", erp=["050"])).status_code == 200  # of another source
    refused = problem(await named("CUP", "053", "051", erp=["050"]), 422, "invalid")
    assert refused["errors"] == [{"pointer": "/aliases/gtin/1", "message": "MUG is called so"}]
    assert (await shop.get("/v1/skus/CUP")).json()["aliases"] == {"gtin": ["052"], "erp": ["050"]}
    problem(await named("NEW", "052"), 422, "invalid")
    problem(await shop.get("/v1/skus/NEW"), 404, "not-found")

    # What its SKU is called no longer, or is deleted with it, may be another's.
    assert (await named("MUG", "050")).status_code == 200
    assert (await named("CUP", "051")).status_code == 200
    await shop.delete("/v1/skus/MUG")
    assert (await named("CUP", "050", "051")).status_code == 200

    claims = await asyncio.gather(*(named(f"SKU-{n}", "090", f"09{n}") for n in range(1, 6)))
    assert sorted(answer.status_code for answer in claims) == [200] + [422] * 4

    swapped = [("LEFT", "060"), ("RIGHT", "061"), ("LEFT", "061"), ("RIGHT", "060")] * 5
    answers = await asyncio.gather(*(named(sku, gtin, "06" + sku) for sku, gtin in swapped))
    assert {answer.status_code for answer in answers} <= {200, 422}


async def test_of_an_entry_told_twice_the_map_is_pointed_at(shop: httpx2.AsyncClient) -> None:
    body = b'{"units": {"CASE": 1.5, "CASE": 12}}'
    document = problem(await shop.put("/v1/skus/x", content=body), 422, "invalid")
    assert document["errors"][0]["pointer"] == "/units"


async def test_a_level_of_strangers_has_no_safety_stock(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/skus/NOPE/locations/DC-1", "/v1/skus/SKU-1/locations/NOWHERE"):
        problem(await shop.put(path, json={"safety_stock": 1}), 404, "not-found")
        problem(await shop.get(path), 404, "not-found")


async def test_lists_come_a_page_at_a_time(shop: httpx2.AsyncClient) -> None:
    for n in range(5):
        await shop.put(f"/v1/channels/c-{n}", json={})
    seen, cursor = [], None
    for _ in range(4):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await shop.get("/v1/channels", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["c-0", "c-1", "c-2", "c-3", "c-4", "web"]
    problem(await shop.get("/v1/channels?limit=0"), 422, "invalid")
    problem(await shop.get("/v1/channels?limit=many"), 422, "invalid")


async def test_exceptions_are_listed_by_owner_kind_and_status(shop: httpx2.AsyncClient) -> None:
    answer = await shop.get("/v1/exceptions?owner=stores&kind=unknown-sku&status=open&limit=5")
    assert answer.json() == {"items": [], "next_cursor": None}
    problem(await shop.get("/v1/exceptions?cursor=last"), 422, "invalid")


async def test_before_master_data_is_read_nobody_is_called_a_stranger(
    service: Service, redis_url: str
) -> None:
    service.catalog._loaded = False
    async with caller(service) as shop:
        line = {"sku": "NOPE", "location": "DC-1", "quantity": 1}
        for answer in (
            await shop.get("/v1/skus/NOPE"),
            await shop.post("/v1/stock-events", json=stock_event("sale", **line)),
        ):
            problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"]
        # Where one name alone matters, Postgres is asked for it.
        answer = await shop.post("/v1/reservations", json={"lines": [line]})
        problem(answer, 422, "unknown-sku")
