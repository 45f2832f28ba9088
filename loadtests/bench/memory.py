"""What Redis keeps of a level and of a live hold, by its own account of its memory.

Journal and dedupe window are let go of before each reading: neither belongs to a level. A
level's share includes its SKU's index, the list of its locations.
"""

from collections.abc import Iterator
from itertools import islice

from redis import Redis

from atp_service.inventory.commands import Hold, HoldLine, encode_command, fingerprint
from loadtests.bench.board import Check, Result, number
from loadtests.bench.journal import Script, received
from loadtests.bench.machine import redis_alone
from loadtests.bench.shop import sku

LEVEL_BYTES = 120.0
HOLD_BYTES = 450.0
LOCATIONS = 20
_BATCH = 250
_LEVELS_AT_ONCE = 50_000


def measure(*, quick: bool) -> Result:
    """50,000 SKUs at 20 locations each, then 100,000 holds of one line each."""
    skus, holds = (1_000, 5_000) if quick else (50_000, 100_000)
    with redis_alone(durable=False) as redis:
        script = Script(redis)
        empty = _settled(redis, script)
        pairs = [(sku(n), _location(place)) for n in range(skus) for place in range(LOCATIONS)]
        receipts = received(pairs, quantity=240)
        while part := list(islice(receipts, _LEVELS_AT_ONCE)):
            script.run(part, _BATCH, 1)
            _settled(redis, script)
        loaded = _settled(redis, script)
        script.run(_holds(holds, skus), _BATCH, 1)
        held = _settled(redis, script)
        index = _index_bytes(redis, script, skus, held)
    levels = len(pairs)
    of_index = (
        f"of a level's bytes the SKU's index is {number(index / levels, 'B')} "
        f"({number(index / skus, 'B')} a SKU of {LOCATIONS} locations)"
    )
    return Result(
        checks=[
            Check(
                what=f"Redis memory per plain level, at {levels:,}",
                figures=[(loaded - empty) / levels],
                target=LEVEL_BYTES,
                at_most=True,
                unit="B",
            ),
            Check(
                what=f"Redis memory per live single-line hold, at {holds:,}",
                figures=[(held - loaded) / holds],
                target=HOLD_BYTES,
                at_most=True,
                unit="B",
            ),
        ],
        notes=[of_index],
    )


def _location(place: int) -> str:
    return f"STORE-{place:03d}"


def _holds(count: int, skus: int) -> Iterator[bytes]:
    for cart in range(count):
        lines = [
            HoldLine(
                line_id="1",
                sku=sku(cart % skus),
                location=_location(cart // skus % LOCATIONS),
                quantity=1,
            )
        ]
        yield encode_command(
            Hold(
                reservation_id=f"cart-{cart:08d}",
                lines=lines,
                fingerprint=fingerprint(lines),
                ttl_ms=14_400_000,
                channel="web",
                customer_id=f"customer-{cart:06d}",
            )
        )


def _settled(redis: Redis, script: Script) -> int:
    """Memory in use without journal and dedupe window."""
    script.trim()
    script.forget_seen()
    used: int = redis.info("memory")["used_memory"]
    return used


def _index_bytes(redis: Redis, script: Script, skus: int, before: int) -> int:
    """What is freed when the SKUs' own fields go: this comes last, it breaks the stock."""
    for first in range(0, skus, 1_000):
        redis.hdel(script.stock, *[sku(n) for n in range(first, min(first + 1_000, skus))])
    return before - _settled(redis, script)
