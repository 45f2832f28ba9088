"""One SKU that everybody wants against a thousand wanted evenly: the rate of holds."""

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, instance
from loadtests.bench.wire import drive, free_port

TARGET = 0.95
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP, 64 connections, one API process."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    rates: dict[int, list[float]] = {1: [], SKUS: []}
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)

        def round_over(skus: int, number: int) -> None:
            load = drive(port, serving.pid, shop.carts(requests, skus))
            if number >= 0:
                rates[skus].append(load.rate)

        alternating(
            rounds, lambda number: round_over(1, number), lambda number: round_over(SKUS, number)
        )
    return Result(
        checks=[
            Check(
                what=f"holds/s of one hot SKU / of {SKUS:,} SKUs",
                figures=ratios(rates[1], rates[SKUS]),
                target=TARGET,
                at_most=False,
            )
        ],
        notes=[f"hot {around(rates[1], '/s')}, uniform {around(rates[SKUS], '/s')}"],
    )
