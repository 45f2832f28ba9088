"""Three times the connections that saturate the API: what it still does, and how late."""

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, instance
from loadtests.bench.wire import CONNECTIONS, Load, drive, free_port

RATE_TARGET = 0.7
P99_TARGET = 3.0
TIMES = 3
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP to one API process, over 64 connections and over 192."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    loads: dict[int, list[Load]] = {CONNECTIONS: [], TIMES * CONNECTIONS: []}
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)

        def round_with(connections: int, number: int) -> None:
            carts = shop.carts(requests, SKUS)
            load = drive(port, serving.pid, carts, connections=connections)
            if number >= 0:
                loads[connections].append(load)

        alternating(
            rounds,
            lambda number: round_with(CONNECTIONS, number),
            lambda number: round_with(TIMES * CONNECTIONS, number),
        )
    saturated, overloaded = loads[CONNECTIONS], loads[TIMES * CONNECTIONS]
    return Result(
        checks=[
            Check(
                what=f"holds/s over {TIMES * CONNECTIONS} connections / over {CONNECTIONS}",
                figures=ratios([x.rate for x in overloaded], [x.rate for x in saturated]),
                target=RATE_TARGET,
                at_most=False,
            ),
            Check(
                what="their p99 / that over 64",
                figures=ratios(
                    [x.percentile_ms(99) for x in overloaded],
                    [x.percentile_ms(99) for x in saturated],
                ),
                target=P99_TARGET,
                at_most=True,
            ),
        ],
        notes=[
            f"{connections} connections: {around([x.rate for x in of], '/s')}, "
            f"p99 {around([x.percentile_ms(99) for x in of], 'ms')}"
            for connections, of in loads.items()
        ],
    )
