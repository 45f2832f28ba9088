"""Carts of 1, 3, 10 and 100 lines: what a line costs the API and Redis as the cart grows."""

from statistics import median

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, Series, around, ratios
from loadtests.bench.machine import alternating, cpu_seconds, instance
from loadtests.bench.wire import drive, free_port

LINES = (1, 3, 10, 100)
TARGET = 1.0
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP, 64 connections; the carts of a round have the same number of lines."""
    rounds, lines_a_round = (2, 4_000) if quick else (6, 20_000)
    micros: dict[int, list[float]] = {lines: [] for lines in LINES}
    rates: dict[int, list[float]] = {lines: [] for lines in LINES}
    with instance() as here:
        port = free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)
        redis_pid = here.redis().info("server")["process_id"]

        def round_of(lines: int, number: int) -> None:
            carts = shop.carts(max(64, lines_a_round // lines), SKUS, lines=lines)
            before = cpu_seconds(serving.pid) + cpu_seconds(redis_pid)
            load = drive(port, serving.pid, carts)
            spent = cpu_seconds(serving.pid) + cpu_seconds(redis_pid) - before
            if number >= 0:
                micros[lines].append(spent / (len(carts) * lines) * 1e6)
                rates[lines].append(load.rate)

        alternating(
            rounds, *[lambda number, lines=lines: round_of(lines, number) for lines in LINES]
        )
    return Result(
        checks=[
            Check(
                what=f"CPU a line in a cart of {LINES[-1]} / in a cart of 1",
                figures=ratios(micros[LINES[-1]], micros[1]),
                target=TARGET,
                at_most=True,
            )
        ],
        notes=[
            f"{lines} lines: {around(micros[lines], 'µs')} a line, {around(rates[lines])} carts/s"
            for lines in LINES
        ],
        series=[
            Series(
                what="lines a cart",
                unit="µs a line",
                points=[(lines, median(micros[lines])) for lines in LINES],
            )
        ],
    )
