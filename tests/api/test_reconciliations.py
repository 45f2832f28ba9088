"""Anybody may ask for Redis to be compared with the ledger, and read what was found."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from atp_service.embedded.postgres import Postgres
from atp_service.ledger import reconciliations
from atp_service.store.keys import keys_of
from atp_service.workers import reconcile
from tests.api.conftest import Service, Stocked
from tests.api.test_reservations import problem
from tests.recorders import recording
from tests.retailer import away, fresh_database
from tests.workers.reconcile.trade import level_name

PATH = "/v1/reconciliations"


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """One for each test: what one records would be in the next one's way."""
    with fresh_database(postgres) as url:
        yield url


async def worked_off(service: Service, database_url: str) -> None:
    """A worker does what is asked for."""
    async with recording(service.store, database_url), reconciliations.lease(database_url) as lease:
        assert lease is not None
        await reconcile.work_off(service.store, service.ledger, lease, asyncio.Event())


async def test_what_is_asked_for_is_compared_repaired_and_told(
    service: Service, shop: httpx2.AsyncClient, stocked: Stocked, database_url: str, redis: object
) -> None:
    await stocked(5)
    answer = await shop.post(PATH)
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["status"], asked["repair"], asked["scope"]) == (
        "requested",
        True,
        {"skus": [], "locations": []},
    )
    assert answer.headers["location"] == f"{PATH}/{asked['id']}"
    assert asked["report"] is None
    await worked_off(service, database_url)
    done = (await shop.get(answer.headers["location"])).json()
    assert (done["status"], done["report"]["drift_total"]) == ("done", 0)
    assert done["started_at"] <= done["finished_at"]

    await redis.hdel(keys_of(0).stock, level_name("SKU-1"))  # type: ignore[attr-defined]
    answer = await shop.post(PATH, json={"scope": {"skus": ["SKU-1"]}, "repair": False})
    await worked_off(service, database_url)
    report = (await shop.get(answer.headers["location"])).json()["report"]
    (drift,) = report["drift"]
    assert (drift["kind"], drift["sku"], drift["location"]) == ("level", "SKU-1", "DC-1")
    assert (drift["found"], drift["expected"]["on_hand"], drift["repaired"]) == (None, 5, False)

    answer = await shop.post(PATH, json={"repair": True})
    await worked_off(service, database_url)
    report = (await shop.get(answer.headers["location"])).json()["report"]
    assert (report["drift_total"], report["repaired"]) == (1, 1)
    (listed,) = (await shop.get("/v1/availability?sku=SKU-1")).json()["items"]
    assert listed["ats"] == 5

    first = (await shop.get(PATH, params={"limit": 2})).json()
    assert [item["id"] for item in first["items"]] == [str(int(asked["id"]) + n) for n in (2, 1)]
    last = (await shop.get(PATH, params={"cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in last["items"]] == [asked["id"]]
    assert last["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"repair": 1}, "/repair"),
        ({"scope": []}, "/scope"),
        ({"scope": {"skus": "SKU-1"}}, "/scope/skus"),
        ({"scope": {"skus": []}}, "/scope/skus"),
        ({"scope": {"skus": [""]}}, "/scope/skus/0"),
        ({"scope": {"locations": ["l" * 33]}}, "/scope/locations/0"),
        ({"scope": {"tags": []}}, "/scope/tags"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_bad_request_points_to_the_field(
    shop: httpx2.AsyncClient, body: object, pointer: str
) -> None:
    document = problem(await shop.post(PATH, json=body), 422, "invalid")
    assert document["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("scope", "slug", "pointers"),
    [
        ({"skus": ["SKU-1", "NOPE", "NO"]}, "unknown-sku", ["/scope/skus/1", "/scope/skus/2"]),
        ({"locations": ["NOWHERE"]}, "unknown-location", ["/scope/locations/0"]),
        ({"skus": ["NOPE"], "locations": ["NOWHERE"]}, "unknown-sku", ["/scope/skus/0"]),
    ],
)
async def test_who_is_unknown_is_not_said_to_be_without_drift(
    shop: httpx2.AsyncClient, scope: object, slug: str, pointers: list[str]
) -> None:
    document = problem(await shop.post(PATH, json={"scope": scope}), 422, slug)
    assert [error["pointer"] for error in document["errors"]] == pointers
    assert "NO" in document["detail"]
    assert (await shop.get(PATH)).json()["items"] == []


async def test_what_waits_already_is_not_asked_for_again(
    service: Service, shop: httpx2.AsyncClient, database_url: str
) -> None:
    here, there = {"skus": ["SKU-2", "SKU-1"]}, {"skus": ["SKU-1", "SKU-2", "SKU-1"]}
    answers = await asyncio.gather(
        *(shop.post(PATH, json={"scope": scope}) for scope in (here, there) * 5)
    )
    assert len({answer.json()["id"] for answer in answers}) == 1
    looked_at = (await shop.post(PATH, json={"scope": here, "repair": False})).json()["id"]
    whole = (await shop.post(PATH)).json()["id"]
    assert len((await shop.get(PATH)).json()["items"]) == 3
    await worked_off(service, database_url)
    # What has been looked at already is no answer to who asks now.
    assert (await shop.post(PATH)).json()["id"] not in (looked_at, whole)


async def test_no_more_wait_than_can_be_done_soon(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    await service.catalog.ensure(skus=[f"SKU-{n}" for n in range(101)])
    scopes = [{"skus": [f"SKU-{n}"]} for n in range(101)]
    for scope in scopes[:100]:
        assert (await shop.post(PATH, json={"scope": scope})).status_code == 202
    refused = await shop.post(PATH, json={"scope": scopes[100]})
    problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"]
    assert len((await shop.get(PATH, params={"limit": 200})).json()["items"]) == 100


async def test_a_run_that_nobody_asked_for_is_not_found(shop: httpx2.AsyncClient) -> None:
    for run_id in ("0", "999999999", "-1", "x", "9" * 19, "9" * 30, "٣"):
        problem(await shop.get(f"{PATH}/{run_id}"), 404, "not-found")
    problem(await shop.get(PATH, params={"cursor": "x"}), 422, "invalid")


async def test_without_postgres_it_is_unavailable(
    shop: httpx2.AsyncClient, postgres: Postgres, database_url: str
) -> None:
    scope = {"skus": ["NOPE"]}  # whether it exists nobody can say now
    with away(postgres, database_url):
        problem(await shop.post(PATH, json={"scope": scope}), 503, "unavailable")
        for answer in (await shop.post(PATH), await shop.get(PATH), await shop.get(f"{PATH}/1")):
            problem(answer, 503, "unavailable")
