"""Redis rebuilt from the ledger: from the fence to the opening.

The levels' receipts and the holds are all of today, so that each of them is in the dedupe window
too: a year-old stock would be quicker.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import uvloop
from redis import Redis

from atp_service import app
from atp_service.inventory.commands import Command, Hold, HoldLine, Receipt, fingerprint
from atp_service.workers import rebuild
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, number
from loadtests.bench.machine import Instance, instance

SECONDS = 30.0
LOCATIONS = 20
_AT_ONCE = 2_000
_RECORDED_SECONDS = 600.0


def measure(*, quick: bool) -> Result:
    """1,000,000 levels and 100,000 live holds; Redis is emptied first."""
    skus, holds = (1_000, 2_000) if quick else (50_000, 100_000)
    with instance() as here:
        here.start("record", "atp_service", "worker", "--only", "record")
        report = uvloop.run(_rebuilt(here, here.redis(), skus, holds))
    what = f"{report.levels:,} levels and {report.reservations:,} live holds"
    return Result(
        checks=[
            Check(
                what=f"rebuilt: {what}",
                figures=[report.seconds],
                target=SECONDS,
                at_most=True,
                unit="s",
            )
        ],
        notes=[f"remembered events put back: {number(report.seen)}"],
    )


async def _rebuilt(here: Instance, redis: Redis, skus: int, holds: int) -> rebuild.Report:
    async with app.connections(here.settings, "bench") as parts:
        for commands in (_receipts(skus), _holds(holds, skus)):
            while part := list(islice(commands, _AT_ONCE)):
                await parts.store.apply_all(part)
        (last,) = await parts.store.last_entries()
        await parts.ledger.wait_for(last, _RECORDED_SECONDS)
        redis.flushall()
        report = await rebuild.rebuild(app.rebuild_tools(here.settings, parts, last.partition))
    if report is None or report.levels != skus * LOCATIONS or report.reservations != holds:
        raise RuntimeError(f"not what was there: {report}")
    return report


def _receipts(skus: int) -> Iterator[Command]:
    for place in range(skus * LOCATIONS):
        yield Receipt(
            source="wms/dc-1",
            event_id=f"receipt-{place}",
            occurred_at_ms=time.time_ns() // 1_000_000,
            sku=shop.sku(place // LOCATIONS),
            location=_location(place),
            quantity=240,
        )


def _holds(count: int, skus: int) -> Iterator[Command]:
    for cart in range(count):
        place = cart * 7 % (skus * LOCATIONS)
        lines: Sequence[HoldLine] = [
            HoldLine(
                line_id="1", sku=shop.sku(place // LOCATIONS), location=_location(place), quantity=1
            )
        ]
        yield Hold(
            reservation_id=f"cart-{cart:08d}",
            lines=list(lines),
            fingerprint=fingerprint(list(lines)),
            ttl_ms=14_400_000,
            channel="web",
            customer_id=f"customer-{cart:06d}",
        )


def _location(place: int) -> str:
    return f"STORE-{place % LOCATIONS:03d}"
