"""Why a number is what it is: the terms add up to what availability says, now and as of then."""

import asyncio
import time
from itertools import count
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from redis.asyncio import Redis

from atp_service.api.responses import timestamp
from atp_service.catalog import Channel, Location, Sku
from atp_service.embedded.postgres import Postgres
from atp_service.inventory.commands import RepairLevel
from atp_service.inventory.outcomes import Applied
from atp_service.inventory.stock import level_field
from atp_service.store.keys import keys_of
from tests.api.conftest import Service, Stocked, caller, describe, serving, stock_event
from tests.api.test_availability import post_event
from tests.api.test_reservations import cart, problem
from tests.recorders import recording
from tests.retailer import away, now_ms, until

WATERFALL = ["on_hand", "unavailable", "reserved", "allocated", "safety_stock", "ats"]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_numbers = count(1)


@pytest.fixture
def service(recorded_service: Service) -> Service:
    """Here entries reach the ledger."""
    return recorded_service


async def explained(shop: httpx2.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await shop.get("/v1/explain", params={"sku": "SKU-1", "location": "DC-1"} | query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def terms(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {term["term"]: term for term in document["terms"]}


def entries(document: dict[str, Any], term: str) -> list[tuple[str, int, int]]:
    """Kind, change and what was left, the latest first."""
    return [(e["kind"], e["units"], e["after"]) for e in terms(document)[term]["entries"]]


async def a_millisecond_passes() -> None:
    """What happens from here on carries another time than what has happened."""
    began = now_ms()
    while now_ms() <= began:  # noqa: ASYNC110  # a clock has no event for it
        await asyncio.sleep(0.0005)


async def test_a_number_is_taken_apart_term_by_term(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await service.catalog.put(Channel(id="web", safety_stock=1))
    await stocked(12)
    damaged = {"quantity": 1, "from_state": "sellable", "to_state": "damaged"}
    await post_event(shop, "state_change", sku="SKU-1", location="DC-1", **damaged)
    await shop.post("/v1/reservations", json=cart("held"), headers={"traceparent": TRACE})
    await shop.post("/v1/reservations", json=cart("ordered", quantity=3))
    await shop.post("/v1/reservations/ordered/confirm", json={"order_id": "order-1"})
    document = await explained(shop, channel="web")
    assert [(term["term"], term["units"], term["after"]) for term in document["terms"]] == [
        ("on_hand", 12, 12),
        ("unavailable", 1, 11),
        ("reserved", 2, 9),
        ("allocated", 3, 6),
        ("safety_stock", 1, 5),
        ("ats", 5, 5),
    ]
    told_on_top = {name: document[name] for name in ("ats", "atf", "shortage", "version")}
    assert told_on_top == {"ats": 5, "atf": 6, "shortage": 0, "version": 5}
    found = terms(document)
    assert found["unavailable"]["states"] == {"damaged": 1}
    assert found["safety_stock"]["policy"] == "channel"
    assert found["safety_stock"]["since"]
    assert entries(document, "on_hand") == [("receipt", 12, 12)]
    assert entries(document, "unavailable") == [("state_change", 1, 1)]
    assert entries(document, "reserved") == [("confirm", -3, 2), ("hold", 3, 5), ("hold", 2, 2)]
    assert entries(document, "allocated") == [("confirm", 3, 3)]
    receipt = found["on_hand"]["entries"][0]
    assert receipt["source"] == "wms/dc-1"
    assert receipt["event_id"].startswith("receipt-")
    assert receipt["at"]
    assert receipt["occurred_at"]
    (confirm,) = found["allocated"]["entries"]
    assert (confirm["reservation_id"], confirm["order_id"]) == ("ordered", "order-1")
    first_hold = found["reserved"]["entries"][-1]
    assert (first_hold["reservation_id"], first_hold["traceparent"]) == ("held", TRACE)


async def test_a_repair_says_what_somebody_had_made_of_the_number(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service, redis: Redis
) -> None:
    await stocked(10)
    (right,) = await service.store.levels([("SKU-1", "DC-1")])
    assert right is not None
    found = structs.replace(right, on_hand=15)
    damaged = msgspec.msgpack.encode(found)
    await redis.hset(keys_of(0).stock, level_field("SKU-1", "DC-1"), damaged)
    assert (await explained(shop))["ats"] == 15
    repair = RepairLevel(sku="SKU-1", location="DC-1", found=found, right=right)
    assert isinstance(await service.store.apply(repair), Applied)
    document = await explained(shop)
    set_right, received = terms(document)["on_hand"]["entries"]
    assert document["ats"] == 10
    assert entries(document, "on_hand") == [("repair_level", -5, 10), ("receipt", 10, 10)]
    assert set_right["found"] == 15
    assert "found" not in received


async def test_as_many_entries_are_shown_as_are_asked_for(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    for _ in range(7):
        await stocked(1)
    assert [after for _, _, after in entries(await explained(shop), "on_hand")] == [7, 6, 5, 4, 3]
    assert len(entries(await explained(shop, limit=100), "on_hand")) == 7
    assert entries(await explained(shop, limit=1), "on_hand") == [("receipt", 1, 7)]


async def test_a_delivery_is_found_behind_thousands_of_holds(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(3)
    await shop.post("/v1/reservations", json=cart("tall", quantity=1, ttl_seconds=900))
    for _ in range(11):
        extended = [
            shop.put("/v1/reservations/tall", json={"lines": [line(units)], "channel": "web"})
            for units in [2, 1] * 50
        ]
        await asyncio.gather(*extended)
    document = await explained(shop)
    assert document["version"] > 1_000
    assert entries(document, "on_hand") == [("receipt", 3, 3)]
    then = await explained(shop, at=terms(document)["reserved"]["entries"][0]["at"])
    assert entries(then, "on_hand") == [("receipt", 3, 3)]


def line(units: int) -> dict[str, Any]:
    return {"sku": "SKU-1", "location": "DC-1", "quantity": units}


async def test_whose_safety_stock_it_is_shows_and_what_changed_it(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await service.catalog.put(Channel(id="web", safety_stock=2))
    await stocked(9)
    await shop.put("/v1/skus/SKU-1/locations/DC-1", json={"safety_stock": 5})
    document = await explained(shop, channel="web")
    assert terms(document)["safety_stock"]["policy"] == "level"
    assert entries(document, "safety_stock") == [("safety_stock", 3, 5)]
    assert document["ats"] == 4
    await shop.put("/v1/skus/SKU-1/locations/DC-1", json={"safety_stock": None})
    document = await explained(shop, channel="web")
    assert terms(document)["safety_stock"]["policy"] == "channel"
    assert entries(document, "safety_stock")[0] == ("safety_stock", -3, 2)
    everybody = terms(await explained(shop))["safety_stock"]
    assert (everybody["units"], "policy" in everybody) == (0, False)


async def test_a_location_that_does_not_sell_says_why_before_the_zero(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await stocked(5)
    for place, channel, reason in (
        (Location(id="DC-1", channels=["store"]), "web", "channel"),
        (Location(id="DC-1", status="closed"), "web", "closed"),
    ):
        await service.catalog.put(place)
        document = await explained(shop, channel=channel)
        assert [term["term"] for term in document["terms"]] == [
            *WATERFALL[:-1],
            "location_unavailable",
            "ats",
        ]
        refused = terms(document)["location_unavailable"]
        assert (refused["units"], refused["after"], refused["reason"]) == (5, 0, reason)
        assert refused["since"]
        assert (document["ats"], document["atf"]) == (0, 5)


@pytest.mark.parametrize(
    ("kind", "key", "term"),
    [(Sku, "SKU-1", "sku_unavailable"), (Location, "DC-1", "location_unavailable")],
)
async def test_what_was_deleted_sells_nothing_and_says_since_when_until_it_is_back(
    shop: httpx2.AsyncClient,
    stocked: Stocked,
    service: Service,
    kind: type[Sku | Location],
    key: str,
    term: str,
) -> None:
    await stocked(5)
    document = await explained(shop)
    selling, ats = document["as_of"], document["ats"]
    await a_millisecond_passes()
    record = (await service.catalog.delete(kind, key)).record
    assert record is not None
    document = await explained(shop)
    gone = document["as_of"]
    refused = terms(document)[term]
    assert (refused["units"], refused["after"], refused["reason"]) == (5, 0, "unknown")
    assert refused["since"] > selling
    assert (document["ats"], document["atf"]) == (0, 5)
    await a_millisecond_passes()
    await service.catalog.put(record)
    assert (await explained(shop))["ats"] == ats == 5
    assert [(await explained(shop, at=at))["ats"] for at in (selling, gone)] == [5, 0]


async def test_a_level_sold_below_zero_ends_at_zero_and_shows_its_shortage(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    await post_event(shop, "sale", sku="SKU-1", location="DC-1", quantity=4)
    document = await explained(shop)
    assert (document["ats"], document["atf"], document["shortage"]) == (0, -3, 3)
    assert document["terms"][-1] == {"term": "ats", "units": 0, "after": 0, "entries": []}
    assert terms(document)["safety_stock"]["after"] == -3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["receipt", "sale", "damage", "count"]), st.integers(1, 9)),
        st.tuples(st.sampled_from(["web", "store"]), st.integers(1, 4)),  # holds
        st.tuples(st.sampled_from(["confirm", "release", "fulfil"]), st.integers(0, 3)),
        st.tuples(st.just("own"), st.sampled_from([None, 0, 2])),
        st.tuples(st.just("withhold"), st.integers(0, 3)),
        st.tuples(st.just("place"), st.sampled_from(["active", "closed", "not on the web"])),
    ),
    min_size=4,
    max_size=14,
)


@given(STEPS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_it_says_what_availability_says_now_and_what_it_said_then(
    shop: httpx2.AsyncClient, service: Service, steps: list[tuple[str, Any]]
) -> None:
    """What cannot happen: that a term differs from availability's by a unit, at once or when the
    moment is asked for again after more has happened.

    It tries with deliveries, tills, damage, counts and carts, and with policies and places that
    change between them.
    """
    history = History(shop, service, f"SKU-{next(_numbers)}-{now_ms()}")
    await history.begin()
    remembered = []
    for step in steps:
        await history.play(*step)
        await a_millisecond_passes()
        for channel in ("web", None):
            said = await history.availability(channel)
            found = await explained(shop, **history.query(channel))
            agree(found, said)
            remembered.append((channel, said, found))
        await a_millisecond_passes()
    for channel, said, found in remembered:
        then = await explained(shop, at=said["as_of"], **history.query(channel))
        agree(then, said)
        assert then["as_of"] == said["as_of"]
        assert then["terms"] == found["terms"]


def agree(found: dict[str, Any], said: dict[str, Any]) -> None:
    """The explanation is of the number that availability said."""
    place = said["place"]
    units = {name: term["units"] for name, term in terms(found).items()}
    units.pop("location_unavailable", None)
    assert units == {
        **{name: place[name] for name in WATERFALL},
        "unavailable": sum(place["unavailable"].values()),
    }
    assert terms(found)["unavailable"]["states"] == place["unavailable"]
    assert (found["ats"], found["atf"]) == (place["ats"], place["atf"])
    assert found["version"] == place["version"]
    left = 0
    for term in found["terms"][:-1]:
        left = term["units"] if term["term"] == "on_hand" else left - term["units"]
        assert term["after"] == left
    assert found["terms"][-1]["after"] == max(0, left) == found["ats"]


class History:
    """A level's, played step by step."""

    def __init__(self, shop: httpx2.AsyncClient, service: Service, sku: str) -> None:
        self._shop = shop
        self._service = service
        self._sku = sku
        self._carts: list[str] = []

    async def begin(self) -> None:
        await self._service.catalog.put(Sku(sku=self._sku))
        await self._service.catalog.put(Location(id="DC-1"))
        await self._service.catalog.put(Channel(id="web"))
        await self._service.catalog.put(Channel(id="store"))
        await post_event(self._shop, "receipt", **self._line(6))

    def query(self, channel: str | None) -> dict[str, str]:
        asked = {"sku": self._sku, "location": "DC-1"}
        return asked if channel is None else asked | {"channel": channel}

    async def availability(self, channel: str | None) -> dict[str, Any]:
        answer = (await self._shop.get("/v1/availability", params=self.query(channel))).json()
        return {"as_of": answer["as_of"], "place": answer["items"][0]["locations"][0]}

    async def play(self, what: str, how: Any) -> None:
        catalog, shop = self._service.catalog, self._shop
        match what:
            case "receipt" | "sale" | "count":
                await self._tell(what, **self._line(how))
            case "damage":
                states = {"from_state": "sellable", "to_state": "damaged"}
                await self._tell("state_change", **self._line(how), **states)
            case "web" | "store":
                cart_id = f"{self._sku}-{len(self._carts)}"
                self._carts.append(cart_id)
                body = {"reservation_id": cart_id, "channel": what, "lines": [self._line(how)]}
                await shop.post("/v1/reservations", json=body)
            case "confirm" | "release" | "fulfil":
                cart_id = self._carts[how] if how < len(self._carts) else "nobody's"
                order = {"order_id": f"order-of-{cart_id}"} if what == "confirm" else {}
                await shop.post(f"/v1/reservations/{cart_id}/{what}", json=order)
            case "own":
                url = f"/v1/skus/{self._sku}/locations/DC-1"
                await shop.put(url, json={"safety_stock": how})
            case "withhold":
                await catalog.put(Channel(id="web", safety_stock=how))
            case "place":
                status: Any = how if how in ("active", "closed") else "active"
                only = ["store"] if how == "not on the web" else None
                await catalog.put(Location(id="DC-1", status=status, channels=only))

    async def _tell(self, kind: str, **data: Any) -> None:
        """A count of this second may have seen it already: then it is absorbed."""
        answer = await self._shop.post("/v1/stock-events", json=stock_event(kind, **data))
        assert answer.json()["results"][0]["status"] in ("applied", "absorbed"), answer.text

    def _line(self, quantity: int) -> dict[str, Any]:
        return {"sku": self._sku, "location": "DC-1", "quantity": quantity}


async def test_what_is_known_and_has_no_level_is_zero_and_a_stranger_is_not_found(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    document = await explained(shop, location="store-042")
    assert [(term["units"], term["after"]) for term in document["terms"]] == [(0, 0)] * 6
    assert (document["ats"], document["version"]) == (0, 0)
    for query in ({"sku": "NOPE"}, {"location": "NOWHERE"}):
        answer = await shop.get("/v1/explain", params={"sku": "SKU-1", "location": "DC-1"} | query)
        problem(answer, 404, "not-found")


async def test_before_its_first_entry_a_level_was_zero(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1, location="store-042")
    await a_millisecond_passes()
    before = (await explained(shop, location="store-042"))["as_of"]
    await a_millisecond_passes()
    await stocked(4)
    assert (await explained(shop))["ats"] == 4
    then = await explained(shop, at=before)
    assert (then["ats"], then["version"], terms(then)["on_hand"]["entries"]) == (0, 0, [])


async def test_a_moment_the_ledger_has_nothing_of_is_refused_with_the_range_there_is(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    async def refused(at: str) -> str:
        query = {"sku": "SKU-1", "location": "DC-1", "at": at}
        (error,) = problem(await shop.get("/v1/explain", params=query), 422, "invalid")["errors"]
        assert error["pointer"] == "/at"
        return str(error["message"])

    assert "no entries" in await refused("2020-01-01T00:00:00Z")
    await stocked(1)
    (entry,) = terms(await explained(shop))["on_hand"]["entries"]
    for outside in ("2020-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"):
        message = await refused(outside)
        assert entry["at"] in message
        assert time.strftime("%Y-", time.gmtime()) in message.partition("to now")[2]
    for unreadable in ("", "yesterday", "2026-11-23", "2026-11-23T10:00:00", "now", "1e9"):
        assert await refused(unreadable)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("location=DC-1", "/sku"),
        ("sku=SKU-1", "/location"),
        ("sku=&location=DC-1", "/sku"),
        ("sku=SKU-1&location=" + "l" * 33, "/location"),
        ("sku=SKU-1&sku=SKU-2&location=DC-1", "/sku"),
        ("sku=SKU-1&location=DC-1&location=store-042", "/location"),
        ("sku=SKU-1&location=DC-1&channel=", "/channel"),
        ("sku=SKU-1&location=DC-1&limit=0", "/limit"),
        ("sku=SKU-1&location=DC-1&limit=many", "/limit"),
    ],
)
async def test_a_question_that_cannot_be_asked_points_to_the_member(
    shop: httpx2.AsyncClient, query: str, pointer: str
) -> None:
    answer = await shop.get(f"/v1/explain?{query}")
    assert pointer in [e["pointer"] for e in problem(answer, 422, "invalid")["errors"]]


async def test_a_mistyped_channel_is_unknown_here_too(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    query = "/v1/explain?sku=SKU-1&location=DC-1&channel=wbe"
    problem(await shop.get(query), 422, "unknown-channel")
    at = (await explained(shop))["as_of"]
    problem(await shop.get(f"{query}&at={at}"), 422, "unknown-channel")


async def test_a_channel_that_is_gone_still_explains_what_it_saw(
    shop: httpx2.AsyncClient, stocked: Stocked, service: Service
) -> None:
    await service.catalog.put(Channel(id="bazaar", safety_stock=3))
    await stocked(5)
    at = (await explained(shop, channel="bazaar"))["as_of"]
    await a_millisecond_passes()
    await service.catalog.delete(Channel, "bazaar")
    assert (await explained(shop, channel="bazaar", at=at))["ats"] == 2


async def test_what_the_ledger_does_not_have_yet_is_waited_for(
    redis_url: str, ledger_url: str
) -> None:
    async with serving(redis_url, ledger_url) as running, caller(running) as shop:
        await describe(running.catalog)
        receipt = stock_event("receipt", sku="SKU-1", location="DC-1", quantity=5)
        await shop.post("/v1/stock-events", json=receipt)
        await a_millisecond_passes()
        at = timestamp(now_ms() - 1)
        # Nobody records: the answer would lack what has happened.
        for query in ({}, {"at": at}):
            asked = {"sku": "SKU-1", "location": "DC-1"} | query
            problem(await shop.get("/v1/explain", params=asked), 503, "unavailable")
        waiting = asyncio.create_task(explained(shop, at=at))
        async with recording(running.store, ledger_url):
            assert (await waiting)["ats"] == 5
            assert (await explained(shop))["ats"] == 5


async def test_without_redis_the_past_is_still_explained(
    shop: httpx2.AsyncClient, stocked: Stocked, redis: Redis
) -> None:
    await stocked(5)
    at = terms(await explained(shop))["on_hand"]["entries"][0]["at"]
    await a_millisecond_passes()
    await stocked(1)
    assert (await explained(shop))["ats"] == 6
    await redis.flushall()
    assert (await explained(shop, at=at))["ats"] == 5
    for query in ({}, {"at": timestamp(now_ms())}):
        asked = {"sku": "SKU-1", "location": "DC-1"} | query
        problem(await shop.get("/v1/explain", params=asked), 503, "fenced")


async def test_without_postgres_nothing_is_explained_and_selling_goes_on(
    shop: httpx2.AsyncClient, stocked: Stocked, postgres: Postgres, ledger_url: str
) -> None:
    await stocked(5)
    at = (await explained(shop))["as_of"]
    query = "/v1/explain?sku=SKU-1&location=DC-1"
    with away(postgres, ledger_url):
        assert (await shop.post("/v1/reservations", json=cart())).status_code == 201
        for asked in (query, f"{query}&at={at}"):
            answer = await shop.get(asked)
            problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"]
        assert (await shop.get("/v1/availability?sku=SKU-1")).json()["items"][0]["ats"] == 3

    async def back() -> bool:
        return (await shop.get(query)).status_code == 200

    await until(back, 20)
    assert (await explained(shop))["ats"] == 3
    assert (await explained(shop, at=at))["ats"] == 5
