"""In Postgres before it is answered against on disk in Redis: the rate of holds, and the lag.

While holds are promised in either tier the recorder is measured too: what would be lost with Redis
is what it has not written yet.
"""

from itertools import pairwise
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, instance
from loadtests.bench.wire import drive, free_port

TARGET = 0.5
LAG_TARGET_MS = 250
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Holds over HTTP, 64 connections, one API process, one recorder."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    rates: dict[str, list[float]] = {"ledger": [], "redis": []}
    with instance() as here:
        port, metrics_port = free_port(), free_port()
        serving = here.serve(port)
        here.start(
            "record",
            *("atp_service", "worker", "--only", "record"),
            ATP_WORKER_METRICS_PORT=str(metrics_port),
        )
        shop.stock(port, SKUS)

        def round_in(tier: str, number: int) -> None:
            load = drive(port, serving.pid, shop.carts(requests, SKUS, durability=tier))
            if number >= 0:
                rates[tier].append(load.rate)

        alternating(
            rounds,
            lambda number: round_in("ledger", number),
            lambda number: round_in("redis", number),
        )
        lag_ms = _lag_ms(metrics_port, 0.99)
    return Result(
        checks=[
            Check(
                what="holds/s with durability ledger / redis",
                figures=ratios(rates["ledger"], rates["redis"]),
                target=TARGET,
                at_most=False,
            ),
            Check(
                what="the recorder's lag, p99 of its transactions' oldest entries",
                figures=[lag_ms],
                target=LAG_TARGET_MS,
                at_most=True,
                unit="ms",
            ),
        ],
        notes=[f"ledger {around(rates['ledger'], '/s')}, redis {around(rates['redis'], '/s')}"],
    )


def _lag_ms(metrics_port: int, share: float) -> float:
    """A quantile from the recorder's own histogram, between a bucket's bounds by proportion."""
    with urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    buckets = [(0.0, 0.0)] + [
        (float(sample.labels["le"]), sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "atp_record_lag_seconds_bucket"
    ]
    wanted = buckets[-1][1] * share
    for (low, before), (high, within) in pairwise(buckets):
        if within >= wanted:
            return (low + (high - low) * (wanted - before) / (within - before)) * 1000
    raise RuntimeError("nothing was recorded")
