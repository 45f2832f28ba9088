"""A hold through the door against one EVALSHA a request: CPU of the API process."""

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, answers, instance, until
from loadtests.bench.wire import Load, drive, free_port

TARGET = 3.0
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """The same holds, 64 connections, one process each, on the same Redis in turn."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    loads: dict[str, list[Load]] = {"ours": [], "rival": []}
    with instance() as here:
        port, rival_port = free_port(), free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)
        rival = here.start("evalsha", "loadtests.bench.rivals", "evalsha", port=rival_port)
        until(lambda: answers(rival_port), rival)

        def round_of(kind: str, to: int, pid: int, number: int) -> None:
            load = drive(to, pid, shop.carts(requests, SKUS))
            if number >= 0:
                loads[kind].append(load)

        alternating(
            rounds,
            lambda number: round_of("ours", port, serving.pid, number),
            lambda number: round_of("rival", rival_port, rival.pid, number),
        )
    ours = [load.cpu_micros for load in loads["ours"]]
    rivals = [load.cpu_micros for load in loads["rival"]]
    rates = {kind: around([load.rate for load in of], "/s") for kind, of in loads.items()}
    return Result(
        checks=[
            Check(
                what="holds per CPU second of the API / of one EVALSHA a request",
                figures=ratios(rivals, ours),
                target=TARGET,
                at_most=False,
            )
        ],
        notes=[
            f"ours {around(ours, 'µs')}, one EVALSHA a request {around(rivals, 'µs')} of CPU",
            f"ours {rates['ours']}, one EVALSHA a request {rates['rival']}",
        ],
    )
