"""Postgres away, or hung: what needs it is refused soon, and all the rest goes on at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service import api
from atp_service.catalog import Catalog
from atp_service.facts import Facts
from atp_service.postgres.pool import PATIENCE_SECONDS
from tests.api.conftest import Service, Stocked
from tests.api.test_reservations import cart, problem
from tests.retailer import hung, now_ms, until

STRANGER = {"lines": [{"sku": "NOPE", "location": "DC-1", "quantity": 1}]}


@contextmanager
def none_waits(shop: httpx2.AsyncClient) -> Iterator[None]:
    """No call in between waits for Postgres. Each by itself: on a busy machine eighty answers take
    as long as one wait.
    """
    took: list[float] = []

    async def came(answer: httpx2.Response) -> None:
        await answer.aread()
        took.append(answer.elapsed.total_seconds())

    shop.event_hooks["response"].append(came)
    yield
    shop.event_hooks["response"].remove(came)
    assert max(took) < PATIENCE_SECONDS / 4


async def answered(shop: httpx2.AsyncClient) -> bool:
    """Whether the ledger can be asked again."""
    return (await shop.get("/v1/reservations/who-knows")).status_code == 404


async def test_a_postgres_that_hangs_holds_callers_up_once_and_not_for_long(
    shop: httpx2.AsyncClient, stocked: Stocked, server_data: Path
) -> None:
    await stocked(5)
    with hung(server_data):
        began = time.monotonic()
        problem(await shop.get("/v1/reservations/who-knows"), 503, "unavailable")
        answer = await shop.get("/v1/availability?sku=NOPE&sku=SKU-1")
        assert [(i["ats"], i.get("known")) for i in answer.json()["items"]] == [
            (0, False),
            (5, None),
        ]
        assert time.monotonic() - began < 2 * PATIENCE_SECONDS + 1
        with none_waits(shop):
            for _ in range(20):
                problem(await shop.get("/v1/reservations/who-knows"), 503, "unavailable")
                assert (await shop.get("/v1/availability?sku=NOPE")).status_code == 200
                problem(await shop.post("/v1/reservations", json=STRANGER), 503, "unavailable")
                ready = (await shop.get("/health/ready")).json()
                state = ready["dependencies"]["postgres"]["state"]
                assert (ready["ready"], state) == (True, "down")
            assert (await shop.post("/v1/reservations", json=cart())).status_code == 201
    await until(lambda: answered(shop), 20)


async def test_who_asks_a_postgres_that_hangs_for_reasons_waits_once(
    service: Service, shop: httpx2.AsyncClient, stocked: Stocked, server_data: Path
) -> None:
    """Also while the journal is ahead of the ledger, which is then waited for by listening."""
    await stocked(5)
    with hung(server_data):
        began = time.monotonic()
        problem(await shop.get("/v1/trace/cart-1"), 503, "unavailable")
        assert time.monotonic() - began < PATIENCE_SECONDS + 1
        with none_waits(shop):
            for _ in range(5):
                for path in ("trace/cart-1", "explain?sku=SKU-1&location=DC-1", "reconciliations"):
                    answer = await shop.get(f"/v1/{path}")
                    assert "repeat" not in problem(answer, 503, "unavailable")["detail"]
    await until(lambda: answered(shop), 20)


async def test_a_query_that_was_given_up_leaves_no_connection_behind_that_nobody_can_trust(
    service: Service, shop: httpx2.AsyncClient, server_data: Path
) -> None:
    with hung(server_data):
        asked = [shop.get(f"/v1/reservations/{n}") for n in range(10)]
        for answer in await asyncio.gather(*asked):
            problem(answer, 503, "unavailable")
    await until(lambda: answered(shop), 20)
    # Nobody is given the answer to another's question.
    asked = [shop.get(f"/v1/reservations/{n}") for n in range(10)]
    for number, answer in enumerate(await asyncio.gather(*asked)):
        assert str(number) in problem(answer, 404, "not-found")["detail"]


@pytest.fixture
async def started_without(service: Service, redis_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Another API process of the same retailer, started while Postgres is away."""
    nowhere: AsyncConnectionPool[Any] = AsyncConnectionPool(
        "host=/nowhere dbname=none user=none", min_size=0, max_size=1, open=False
    )
    async with nowhere:
        catalog = Catalog(nowhere)
        facts = Facts(
            service.store, service.ledger, catalog, auto_create=False, dedupe_hours=24, clock=now_ms
        )
        app = api.create(
            store=service.store,
            ledger=service.ledger,
            catalog=catalog,
            facts=facts,
            auto_create=False,
            now_ms=now_ms,
        )
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://atp.test"
        ) as client:
            yield client


async def test_who_starts_without_postgres_sells_what_has_a_level(
    stocked: Stocked, started_without: httpx2.AsyncClient
) -> None:
    await stocked(5)
    shop = started_without
    held = await shop.post("/v1/reservations", json=cart(channel=None))
    assert held.status_code == 201, held.text
    items = (await shop.get("/v1/availability?sku=SKU-1&sku=NOPE")).json()["items"]
    assert [(item["ats"], item.get("known")) for item in items] == [(3, None), (0, False)]
    # Whether these exist nobody can say: that is no refusal for good.
    for line in ({"sku": "NOPE", "location": "DC-1"}, {"sku": "SKU-1", "location": "NOWHERE"}):
        asked = {"lines": [line | {"quantity": 1}]}
        problem(await shop.post("/v1/reservations", json=asked), 503, "unavailable")
    # What a channel withholds is not known either.
    problem(await shop.post("/v1/reservations", json=cart("cart-2")), 503, "unavailable")
    problem(await shop.get("/v1/availability?sku=SKU-1&channel=web"), 503, "unavailable")
