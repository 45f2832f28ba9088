"""A hold against a guarded UPDATE and an INSERT in Postgres: CPU of all the server processes."""

from collections.abc import Callable
from functools import partial

import psycopg

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import Instance, alternating, answers, cpu_seconds, instance, until
from loadtests.bench.rivals import SCHEMA
from loadtests.bench.wire import drive, free_port

TARGET = 4.0
SKUS = 1_000


def measure(*, quick: bool) -> Result:
    """Ours: the API and Redis. Theirs: the API and Postgres. Both sync before they answer."""
    rounds, requests = (2, 2_000) if quick else (6, 10_000)
    micros: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with instance() as here:
        port, rival_port = free_port(), free_port()
        serving = here.serve(port)
        shop.stock(port, SKUS)
        _prepare(here)
        rival = here.start("postgres", "loadtests.bench.rivals", "postgres", port=rival_port)
        until(lambda: answers(rival_port), rival)
        redis_pid = here.redis().info("server")["process_id"]

        sides: dict[str, tuple[int, Callable[[], list[int]]]] = {
            "ours": (port, lambda: [serving.pid, redis_pid]),
            "theirs": (rival_port, lambda: [rival.pid, *_backends(here)]),
        }

        def round_of(side: str, name: str, skus: int, number: int) -> None:
            to, pids = sides[side]
            before = sum(cpu_seconds(pid) for pid in pids())
            load = drive(to, serving.pid, shop.carts(requests, skus))
            spent = sum(cpu_seconds(pid) for pid in pids()) - before
            if number >= 0:
                micros.setdefault(f"{side}, {name}", []).append(spent / requests * 1e6)
                rates.setdefault(f"{side}, {name}", []).append(load.rate)

        for name, skus in (("hot", 1), ("uniform", SKUS)):
            alternating(
                rounds,
                partial(round_of, "ours", name, skus),
                partial(round_of, "theirs", name, skus),
            )
    return Result(
        checks=[
            Check(
                what=f"holds per CPU second of all servers / in Postgres, {what}",
                figures=ratios(micros[f"theirs, {name}"], micros[f"ours, {name}"]),
                target=TARGET,
                at_most=False,
            )
            for name, what in (("hot", "one hot SKU"), ("uniform", f"{SKUS:,} SKUs"))
        ],
        notes=[
            f"{kind}: {around(figures, 'µs')} of CPU, {around(rates[kind], '/s')}"
            for kind, figures in micros.items()
        ],
    )


def _prepare(here: Instance) -> None:
    with psycopg.connect(here.settings.migration_url or "", autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(
            "INSERT INTO rival_stock SELECT unnest(%s::text[]), %s, %s",
            ([shop.sku(number) for number in range(SKUS)], shop.LOCATION, shop.PLENTY),
        )
        connection.execute("GRANT SELECT, INSERT, UPDATE ON rival_stock, rival_reservations TO atp")
        connection.execute("VACUUM ANALYZE rival_stock")


def _backends(here: Instance) -> list[int]:
    """Postgres's processes: those who serve, and those who write behind them."""
    with psycopg.connect(here.settings.migration_url or "") as connection:
        rows = connection.execute(
            """
            SELECT pid
            FROM pg_stat_activity
            WHERE pid <> pg_backend_pid()
            """
        ).fetchall()
    return [pid for (pid,) in rows]
