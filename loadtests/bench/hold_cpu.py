"""A durable hold over HTTP against an empty Litestar handler: CPU of the server process."""

from statistics import median

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, number, ratios
from loadtests.bench.machine import alternating, answers, instance, until
from loadtests.bench.wire import Load, drive, free_port, post

TARGET = 0.8
SKUS = 1_000
_NOTHING = post("/empty", b"{}")


def measure(*, quick: bool) -> Result:
    """Single-line holds of unique carts, `appendfsync always`, one API process, 64 connections."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    holds: list[Load] = []
    empties: list[Load] = []
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)
        empty_port = free_port()
        empty = here.start("empty", "loadtests.bench.empty", port=empty_port)
        until(lambda: answers(empty_port), empty)

        def hold_round(number: int) -> None:
            load = drive(port, serving.pid, shop.carts(requests, SKUS))
            if number >= 0:
                holds.append(load)

        def empty_round(number: int) -> None:
            load = drive(empty_port, empty.pid, [_NOTHING] * requests)
            if number >= 0:
                empties.append(load)

        alternating(rounds, hold_round, empty_round)
    hold_micros = [load.cpu_micros for load in holds]
    empty_micros = [load.cpu_micros for load in empties]
    return Result(
        checks=[
            Check(
                what="CPU of the API per hold / per empty Litestar request",
                figures=ratios(hold_micros, empty_micros),
                target=TARGET,
                at_most=True,
            )
        ],
        notes=[
            f"hold {around(hold_micros, 'µs')}, empty {around(empty_micros, 'µs')} of CPU",
            f"hold {_experience(holds)}",
            f"empty {_experience(empties)}",
        ],
    )


def _experience(loads: list[Load]) -> str:
    p50 = median(load.percentile_ms(50) for load in loads)
    p99 = median(load.percentile_ms(99) for load in loads)
    client = median(load.client_cpu_micros for load in loads)
    return (
        f"{around([load.rate for load in loads], '/s')}, p50 {number(p50, 'ms')}, "
        f"p99 {number(p99, 'ms')}; the client's CPU {number(client, 'µs')}"
    )
