"""A call whose answer was lost is made again under its key: it is done once, and told again."""

import asyncio
from typing import Any

import httpx2
import psycopg
import pytest

from tests.api.conftest import Service
from tests.api.test_reservations import problem

RUNS = "/v1/reconciliations"
RECORDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/locations/store-1", {"name": "High Street"}, {"name": "Low Street"}),
    ("/v1/skus/MUG", {"name": "A mug"}, {"name": "A cup"}),
    ("/v1/channels/marketplace-x", {"safety_stock": 1}, {"safety_stock": 2}),
    ("/v1/feeds/pos/store-1", {"owner": "stores"}, {"owner": "finance"}),
]


def under(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


def is_replayed(answer: httpx2.Response) -> bool:
    return "idempotent-replayed" in answer.headers


def remembered(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM keyed_calls").fetchone()
    return row[0] if row else 0


def a_day_passes(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE keyed_calls SET at = at - '24 h'::interval")


@pytest.mark.parametrize(("path", "old", "new"), RECORDS)
async def test_a_put_made_again_leaves_what_came_after_it(
    shop: httpx2.AsyncClient, path: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    first = await shop.put(path, json=old, headers=under("k"))
    assert (first.status_code, is_replayed(first)) == (200, False)
    again = await shop.put(path, json=old, headers=under("k"))
    assert (again.json(), is_replayed(again)) == (first.json(), True)
    changed = await shop.put(path, json=new, headers=under("other"))
    assert not is_replayed(changed)
    again = await shop.put(path, json=old, headers=under("k"))
    assert (again.status_code, again.json(), is_replayed(again)) == (200, changed.json(), True)
    assert (await shop.get(path)).json() == changed.json()

    await shop.delete(path)
    again = await shop.put(path, json=old, headers=under("k"))
    problem(again, 404, "not-found")
    assert is_replayed(again)


@pytest.mark.parametrize(("path", "old", "new"), RECORDS)
async def test_a_delete_made_again_tells_of_the_record_it_took_away(
    shop: httpx2.AsyncClient, path: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    nothing = await shop.delete(path, headers=under("k"))
    problem(nothing, 404, "not-found")  # nothing was done: nothing is remembered
    record = (await shop.put(path, json=old)).json()
    first = await shop.delete(path, headers=under("k"))
    assert (first.status_code, first.json(), is_replayed(first)) == (200, record, False)
    again = await shop.delete(path, headers=under("k"))
    assert (again.status_code, again.json(), is_replayed(again)) == (200, record, True)
    problem(await shop.get(path), 404, "not-found")
    problem(await shop.delete(path, headers=under("other")), 404, "not-found")

    back = (await shop.put(path, json=new)).json()
    again = await shop.delete(path, headers=under("k"))
    assert (again.json(), is_replayed(again)) == (record, True)
    assert (await shop.get(path)).json() == back


async def test_a_key_belongs_to_its_call_and_to_its_record(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/skus/A", "/v1/skus/B", "/v1/channels/A"):
        assert not is_replayed(await shop.put(path, json={}, headers=under("k")))
    assert not is_replayed(await shop.delete("/v1/skus/A", headers=under("k")))
    assert is_replayed(await shop.put("/v1/skus/B", json={}, headers=under("k")))


async def test_a_refused_put_may_be_mended_under_its_key(shop: httpx2.AsyncClient) -> None:
    path = "/v1/locations/store-1"
    problem(await shop.put(path, json={"lat": 1}, headers=under("k")), 422, "invalid")
    mended = await shop.put(path, json={"lat": 1, "lon": 2}, headers=under("k"))
    assert (mended.status_code, is_replayed(mended)) == (200, False)


async def test_of_calls_at_once_under_one_key_one_is_done(shop: httpx2.AsyncClient) -> None:
    puts = [
        shop.put("/v1/channels/x", json={"safety_stock": n}, headers=under("k")) for n in range(10)
    ]
    answers = await asyncio.gather(*puts)
    assert [is_replayed(answer) for answer in answers].count(False) == 1
    assert len({answer.json()["safety_stock"] for answer in answers}) == 1
    answers = await asyncio.gather(
        *(shop.delete("/v1/channels/x", headers=under("k")) for _ in range(10))
    )
    assert [is_replayed(answer) for answer in answers].count(False) == 1
    assert {answer.status_code for answer in answers} == {200}
    answers = await asyncio.gather(*(shop.post(RUNS, headers=under("k")) for _ in range(10)))
    assert [is_replayed(answer) for answer in answers].count(False) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_reconciliation_asked_for_again_is_the_run_of_before(
    shop: httpx2.AsyncClient, service: Service, database_url: str
) -> None:
    asked = {"scope": {"skus": ["SKU-1"]}}
    first = await shop.post(RUNS, json=asked, headers=under("k"))
    assert (first.status_code, is_replayed(first)) == (202, False)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE reconciliations SET status = 'running'")
    await shop.delete("/v1/skus/SKU-1")
    again = await shop.post(RUNS, json=asked, headers=under("k"))
    assert (again.status_code, is_replayed(again)) == (200, True)
    assert again.json() == first.json() | {"status": "running"}
    assert again.headers["location"] == first.headers["location"]
    problem(await shop.post(RUNS, json=asked, headers=under("other")), 422, "unknown-sku")
    assert (await shop.post(RUNS, headers=under("other"))).status_code == 202


async def test_a_key_is_forgotten_after_a_day_and_does_not_pile_up(
    shop: httpx2.AsyncClient, database_url: str
) -> None:
    for n in range(25):
        await shop.put("/v1/channels/x", json={}, headers=under(f"k-{n}"))
    assert is_replayed(await shop.put("/v1/channels/x", json={}, headers=under("k-3")))
    assert remembered(database_url) == 25
    a_day_passes(database_url)
    assert not is_replayed(await shop.put("/v1/channels/x", json={}, headers=under("k-3")))
    for n in range(2):
        await shop.put("/v1/channels/x", json={}, headers=under(f"new-{n}"))
    assert remembered(database_url) == 3


async def test_which_calls_take_a_key_is_told_by_the_schema(shop: httpx2.AsyncClient) -> None:
    """Every call that changes something, and none that only asks."""
    paths = (await shop.get("/schema/openapi.json")).json()["paths"]
    asks = {("/v1/availability", "post")}
    for path, calls in paths.items():
        for method, call in calls.items():
            names = {parameter["name"] for parameter in call.get("parameters", ())}
            changes = method != "get" and (path, method) not in asks
            assert ("Idempotency-Key" in names) is changes, (method, path)
