"""Availability over HTTP against a bare HMGET of the same fields: cells (levels) a second."""

import asyncio
import time

from redis.asyncio import Redis

from atp_service.inventory.stock import level_field
from atp_service.store.keys import keys_of
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, instance
from loadtests.bench.wire import CONNECTIONS, drive, free_port, get

TARGET = 0.35
CELLS = 50
_PLACES = [f"STORE-{number:03d}" for number in range(CELLS)]


def measure(*, quick: bool) -> Result:
    """50 SKUs at 1 location, then 1 SKU at 50, 64 askers each."""
    rounds, requests = (2, 1_000) if quick else (8, 4_000)
    checks, notes = [], []
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, CELLS)
        shop.stock(port, 1, _PLACES)
        skus = [shop.sku(number) for number in range(CELLS)]
        shapes = {
            f"{CELLS} SKUs × 1 location": (
                "&".join([f"location={shop.LOCATION}", *(f"sku={sku}" for sku in skus)]),
                [level_field(sku, shop.LOCATION) for sku in skus],
            ),
            f"1 SKU × {CELLS} locations": (
                "&".join([f"sku={skus[0]}", *(f"location={place}" for place in _PLACES)]),
                [level_field(skus[0], place) for place in _PLACES],
            ),
        }
        for what, (query, fields) in shapes.items():
            ours: list[float] = []
            bare: list[float] = []
            request = get(f"/v1/availability?{query}")

            def asked(number: int, request: bytes = request, ours: list[float] = ours) -> None:
                load = drive(port, serving.pid, [request] * requests, status=200)
                if number >= 0:
                    ours.append(load.rate * CELLS)

            def read(number: int, fields: list[str] = fields, bare: list[float] = bare) -> None:
                rate = asyncio.run(_bare(here.settings.redis_url or "", fields, requests))
                if number >= 0:
                    bare.append(rate * CELLS)

            alternating(rounds, asked, read)
            checks.append(
                Check(
                    what=f"{what}: cells/s over HTTP / of a bare HMGET",
                    figures=ratios(ours, bare),
                    target=TARGET,
                    at_most=False,
                )
            )
            notes.append(f"{what}: {around(ours, '/s')}, bare {around(bare, '/s')}")
    return Result(checks=checks, notes=notes)


async def _bare(url: str, fields: list[str], requests: int) -> float:
    """HMGETs a second by redis-py, as many at a time as there are askers over HTTP."""
    left = requests
    stock = keys_of(0).stock

    async def ask(client: Redis) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await client.hmget(stock, fields)

    async with Redis.from_url(url, protocol=2, max_connections=CONNECTIONS) as client:
        began = time.perf_counter()
        await asyncio.gather(*[ask(client) for _ in range(CONNECTIONS)])
        return requests / (time.perf_counter() - began)
