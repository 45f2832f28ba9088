"""What a hold costs Redis as the shop grows: levels, and live holds. Flat is the aim."""

from collections.abc import Iterator
from itertools import count, islice
from statistics import median

from redis import Redis

from atp_service.inventory.commands import Hold, HoldLine, encode_command, fingerprint
from loadtests.bench.board import Check, Result, Series
from loadtests.bench.journal import Script, received
from loadtests.bench.machine import redis_alone
from loadtests.bench.shop import LOCATION, sku

TARGET = 1.5
BATCH = 64
_ROUNDS = 5
_HOLDS = 6_400  # a round
_AT_ONCE = 50_000
_cart = count(1)


def measure(*, quick: bool) -> Result:
    """Holds in batches of 64 over all SKUs there are, journal and dedupe window let go of."""
    levels = (1_000, 5_000) if quick else (10_000, 100_000, 1_000_000)
    holds = (1_000, 5_000) if quick else (1_000, 10_000, 100_000)
    by_levels = _by_levels(levels)
    by_holds = _by_holds(holds)
    return Result(
        checks=[
            Check(
                what=f"Redis time per hold at {points[-1][0]:,} {what} / at {points[0][0]:,}",
                figures=[points[-1][1] / points[0][1]],
                target=TARGET,
                at_most=True,
            )
            for what, points in (("levels", by_levels), ("live holds", by_holds))
        ],
        series=[
            Series(what="levels", unit="µs a hold", points=by_levels),
            Series(what="live holds", unit="µs a hold", points=by_holds),
        ],
    )


def _by_levels(sizes: tuple[int, ...]) -> list[tuple[int, float]]:
    with redis_alone(durable=False) as redis:
        script = Script(redis)
        receipts = received([(sku(n), LOCATION) for n in range(sizes[-1])])
        points, there = [], 0
        for size in sizes:
            while there < size:
                part = list(islice(receipts, min(_AT_ONCE, size - there)))
                script.run(part, BATCH, 4)
                _let_go(script)
                there += len(part)
            points.append((size, _micros_a_hold(redis, script, size)))
        return points


def _by_holds(sizes: tuple[int, ...]) -> list[tuple[int, float]]:
    skus = 10_000
    with redis_alone(durable=False) as redis:
        script = Script(redis)
        script.run(received([(sku(n), LOCATION) for n in range(skus)]), BATCH, 4)
        points, there = [], 0
        for size in sizes:
            script.run(_carts(max(0, size - there), skus), BATCH, 4)
            _let_go(script)
            points.append((size, _micros_a_hold(redis, script, skus)))
            there = size + _ROUNDS * _HOLDS
        return points


def _micros_a_hold(redis: Redis, script: Script, skus: int) -> float:
    figures = []
    for _ in range(_ROUNDS):
        carts = list(_carts(_HOLDS, skus))
        before = _micros(redis)
        script.run(carts, BATCH, 4)
        figures.append((_micros(redis) - before) / _HOLDS)
        _let_go(script)
    return median(figures)


def _carts(holds: int, skus: int) -> Iterator[bytes]:
    for number in islice(_cart, holds):
        # Over all SKUs, far apart: what is near in memory is not what is asked for next.
        line = HoldLine(line_id="1", sku=sku(number * 7_919 % skus), location=LOCATION, quantity=1)
        yield encode_command(
            Hold(
                reservation_id=f"cart-{number:08d}",
                lines=[line],
                fingerprint=fingerprint([line]),
                ttl_ms=14_400_000,
                channel="web",
            )
        )


def _micros(redis: Redis) -> int:
    spent: int = redis.info("commandstats")["cmdstat_evalsha"]["usec"]
    return spent


def _let_go(script: Script) -> None:
    script.trim()
    script.forget_seen()
