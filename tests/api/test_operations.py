"""What operators and their tools read: health, metrics, the API's own description."""

import asyncio

import httpx2
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from redis.asyncio import Redis

from tests.api.conftest import Service
from tests.api.test_reservations import cart, problem


async def test_alive_and_ready(shop: httpx2.AsyncClient) -> None:
    assert (await shop.get("/health/live")).json() == {"live": True}
    ready = await shop.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert ready.json()["dependencies"]["redis"] == {"state": "up", "warnings": []}


async def test_a_redis_that_may_evict_stock_is_not_ready(
    shop: httpx2.AsyncClient, redis: Redis
) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        document = problem(await shop.get("/health/ready"), 503, "unavailable")
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    assert document["ready"] is False
    assert document["dependencies"]["redis"]["state"] == "unfit"


async def test_a_redis_that_syncs_later_is_ready_with_a_warning(
    shop: httpx2.AsyncClient, redis: Redis
) -> None:
    await redis.config_set("appendfsync", "everysec")
    try:
        document = (await shop.get("/health/ready")).json()
    finally:
        await redis.config_set("appendfsync", "always")
    assert (document["ready"], document["degraded"]) == (True, True)
    assert "everysec" in document["dependencies"]["redis"]["warnings"][0]


async def test_without_postgres_it_sells_on_and_says_it_is_degraded(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    await service.pool.close()
    document = (await shop.get("/health/ready")).json()
    assert (document["ready"], document["degraded"]) == (True, True)
    assert document["dependencies"]["postgres"]["state"] == "down"
    problem(await shop.post("/v1/reservations", json=cart()), 409, "insufficient-stock")
    problem(await shop.put("/v1/channels/x", json={}), 503, "unavailable")
    problem(await shop.get("/v1/reservations/who-knows"), 503, "unavailable")
    problem(await shop.get("/v1/exceptions"), 503, "unavailable")


async def test_a_redis_that_was_emptied_is_fenced(
    shop: httpx2.AsyncClient, service: Service, redis: Redis
) -> None:
    await shop.post("/v1/reservations", json=cart())
    await redis.hset("{0}meta", "epoch", "99")
    answer = await shop.post("/v1/reservations", json=cart())
    problem(answer, 503, "fenced")
    assert answer.headers["retry-after"]
    problem(await shop.get("/health/ready"), 503, "unavailable")


async def test_a_fault_of_ours_tells_nothing_but_its_request_id(
    shop: httpx2.AsyncClient, service: Service
) -> None:
    async def stumble(_: object) -> None:
        raise RuntimeError("a secret of the house")

    service.store.reservation = stumble  # type: ignore[method-assign,assignment]
    answer = await shop.get("/v1/reservations/cart-1", headers={"x-request-id": "mine-1"})
    document = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "mine-1" in document["detail"]


async def test_metrics_name_routes_and_never_ids(shop: httpx2.AsyncClient) -> None:
    await asyncio.gather(
        *(shop.get(path) for path in ("/v1/skus/SKU-1", "/nowhere", "/v1/reservations/cart-1"))
    )
    answer = await shop.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    parsed = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    routes = {s.labels["route"] for s in families["atp_http_request_seconds"].samples}
    assert {"/v1/skus/{key}", "/v1/reservations/{reservation_id}", "unmatched"} <= routes
    assert not any("SKU-1" in route or "cart-1" in route for route in routes)


async def test_the_page_works_without_the_internet(shop: httpx2.AsyncClient) -> None:
    page = await shop.get("/schema")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    # Left out, the page sends the document to a validator on the internet.
    assert "validatorUrl: null" in page.text
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"/schema/assets/{asset}" in page.text
        assert (await shop.get(f"/schema/assets/{asset}")).status_code == 200
