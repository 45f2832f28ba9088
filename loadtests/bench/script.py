"""What a hold costs Redis itself, in batches of 64 and one call each, by Redis's own account."""

from collections.abc import Sequence
from itertools import count

from redis import Redis

from atp_service.inventory.commands import Hold, HoldLine, encode_command, fingerprint
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.journal import Script, received
from loadtests.bench.machine import alternating, redis_alone
from loadtests.bench.shop import LOCATION, sku

MICROS = 25.0
TARGET = 0.65
BATCH = 64
SKUS = 2_000
_IN_PIPELINE = 1_024  # holds, in so many or so few calls


def measure(*, quick: bool) -> Result:
    """Single-line holds over 2,000 SKUs; complete entries with after-images and digest."""
    rounds, holds = (2, 6_400) if quick else (8, 25_600)
    batched: list[float] = []
    single: list[float] = []
    cpu: dict[int, list[float]] = {BATCH: [], 1: []}
    cart = count(1)
    with redis_alone(durable=True) as redis:
        # Redis does not count its syncs as the script's time; here they would only make us wait.
        redis.config_set("appendfsync", "everysec")
        script = Script(redis)
        script.run(received([(sku(n), LOCATION) for n in range(SKUS)]), 64, 1)

        def round_of(size: int, figures: list[float], number: int) -> None:
            commands = [_hold(next(cart)) for _ in range(holds)]
            before, cpu_before = _micros(redis), _cpu_micros(redis)
            script.run(commands, size, _IN_PIPELINE // size)
            if number >= 0:
                figures.append((_micros(redis) - before) / holds)
                cpu[size].append((_cpu_micros(redis) - cpu_before) / holds)
            script.trim()

        alternating(
            rounds,
            lambda number: round_of(BATCH, batched, number),
            lambda number: round_of(1, single, number),
        )
    beside = (
        f"CPU of the server, with all it does beside the script: {around(cpu[BATCH], 'µs')} "
        f"against {around(cpu[1], 'µs')}"
    )
    return Result(
        checks=[
            Check(
                what=f"Redis time per hold in batches of {BATCH}",
                figures=batched,
                target=MICROS,
                at_most=True,
                unit="µs",
            ),
            Check(
                what="… / of one pipelined EVALSHA per hold",
                figures=ratios(batched, single),
                target=TARGET,
                at_most=True,
            ),
        ],
        notes=[f"one EVALSHA per hold {around(single, 'µs')}", beside],
    )


def _hold(cart: int) -> bytes:
    lines: Sequence[HoldLine] = [
        HoldLine(line_id="1", sku=sku(cart % SKUS), location=LOCATION, quantity=1)
    ]
    return encode_command(
        Hold(
            reservation_id=f"cart-{cart:08d}",
            lines=list(lines),
            fingerprint=fingerprint(list(lines)),
            ttl_ms=900_000,
            channel="web",
            customer_id=f"customer-{cart % 1000}",
        )
    )


def _micros(redis: Redis) -> int:
    spent: int = redis.info("commandstats")["cmdstat_evalsha"]["usec"]
    return spent


def _cpu_micros(redis: Redis) -> float:
    """Redis's account of a call is by the clock; on a busy machine that is more than its CPU."""
    cpu: dict[str, float] = redis.info("cpu")
    return (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6
