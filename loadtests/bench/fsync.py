"""On disk before it is answered against on disk within a second: the rate of holds."""

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, instance
from loadtests.bench.wire import drive, free_port

TARGET = 0.9
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP, 64 connections, one API process; the server is told which between rounds."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    rates: dict[str, list[float]] = {"always": [], "everysec": []}
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)
        redis = here.redis()

        def round_with(policy: str, number: int) -> None:
            redis.config_set("appendfsync", policy)
            load = drive(port, serving.pid, shop.carts(requests, SKUS))
            if number >= 0:
                rates[policy].append(load.rate)

        alternating(
            rounds,
            lambda number: round_with("always", number),
            lambda number: round_with("everysec", number),
        )
    return Result(
        checks=[
            Check(
                what="holds/s with appendfsync always / everysec",
                figures=ratios(rates["always"], rates["everysec"]),
                target=TARGET,
                at_most=False,
            )
        ],
        notes=[
            f"always {around(rates['always'], '/s')}, everysec {around(rates['everysec'], '/s')}"
        ],
    )
