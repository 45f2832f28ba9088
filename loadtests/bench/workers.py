"""One API process and two on the same port: rates, and what becomes of the batches."""

from functools import partial
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from atp_service.embedded.fetch import fetch
from atp_service.processes.child import Child
from loadtests.bench import shop
from loadtests.bench.board import Result, around, ratios
from loadtests.bench.machine import alternating, instance, until
from loadtests.bench.wire import Load, drive, free_port

SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP, 64 connections. On two cores the client needs one of them too: no target."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    loads: dict[int, list[Load]] = {1: [], 2: []}
    batches: dict[int, list[float]] = {1: [], 2: []}
    with instance() as here:
        ports = {1: free_port(), 2: free_port()}
        processes: dict[int, Child] = {}
        for workers, port in ports.items():
            processes[workers] = child = here.start(
                f"serve-{workers}", "atp_service", "serve", "--workers", str(workers), port=port
            )
            until(partial(_is_ready, port), child)
        shop.stock(ports[1], SKUS)

        def round_with(workers: int, number: int) -> None:
            before = _batches(ports[workers])
            load = drive(ports[workers], processes[workers].pid, shop.carts(requests, SKUS))
            after = _batches(ports[workers])
            if number >= 0:
                loads[workers].append(load)
                batches[workers].append((after[0] - before[0]) / (after[1] - before[1]))

        alternating(
            rounds, lambda number: round_with(1, number), lambda number: round_with(2, number)
        )
    rates = {workers: [load.rate for load in of] for workers, of in loads.items()}
    return Result(
        notes=[
            f"holds/s of two processes / of one: {around(ratios(rates[2], rates[1]))}",
            *[
                f"{workers}: {around(rates[workers], '/s')}, p99 "
                f"{around([x.percentile_ms(99) for x in loads[workers]], 'ms')}, "
                f"{around(batches[workers])} commands a round trip"
                for workers in loads
            ],
        ]
    )


def _is_ready(port: int) -> bool:
    return fetch(f"http://127.0.0.1:{port}/health/ready") is not None


def _batches(port: int) -> tuple[float, float]:
    """Commands and round trips of the door so far, of all processes together."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if family.name == "atp_door_batch_commands" and not sample.labels
    }
    return samples["atp_door_batch_commands_sum"], samples["atp_door_batch_commands_count"]
