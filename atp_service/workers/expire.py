"""Holds whose deadline has passed give their units back, with or without traffic.

A lapsed hold counts as expired at once; within a second the numbers follow. Holds are reaped a few
at a time, so that a sale whose holds all lapse together holds no caller up.
"""

import asyncio
from typing import Final

import structlog
from prometheus_client import Counter

from atp_service.inventory.commands import Expire
from atp_service.inventory.outcomes import Swept
from atp_service.metrics import REGISTRY, HighestGauge
from atp_service.pause import pause
from atp_service.store import Fenced, Partition, Unavailable

log = structlog.get_logger()

AT_ONCE: Final = 100
LONGEST_SLEEP_SECONDS: Final = 0.25  # a hold made meanwhile may be due sooner than any known
SHORTEST_PAUSE_SECONDS: Final = 0.1  # while Redis is away
LONGEST_PAUSE_SECONDS: Final = 2.0

_reaped = Counter("atp_expire_holds", "Holds reaped after their deadline", registry=REGISTRY)
_overdue = HighestGauge("atp_expire_overdue_seconds", "How long the oldest lapsed hold has waited")


async def run(partition: Partition, *, stop: asyncio.Event) -> None:
    """Reap the partition's lapsed holds until stopped."""
    log.info("expire_started")
    reaped, longer = 0, SHORTEST_PAUSE_SECONDS
    while not stop.is_set():
        try:
            due = await partition.reads.due()
            _overdue.set(partition.number, 0.0 if due is None else max(0.0, -due))
            if due is not None and due <= 0:
                swept = await _sweep(partition)
                reaped += swept
                sleep = 0.0 if swept else LONGEST_SLEEP_SECONDS
            else:
                if reaped:
                    log.info("holds_expired", holds=reaped)
                reaped = 0
                sleep = LONGEST_SLEEP_SECONDS if due is None else min(due, LONGEST_SLEEP_SECONDS)
            longer = SHORTEST_PAUSE_SECONDS
        except (Unavailable, Fenced) as away:
            log.warning("expire_interrupted", reason=str(away))
            sleep, longer = longer, min(longer * 2, LONGEST_PAUSE_SECONDS)
        await pause(stop, sleep)
    log.info("expire_stopped")


async def _sweep(partition: Partition) -> int:
    """Reap a few; returns how many."""
    outcome = await partition.apply(Expire(limit=AT_ONCE))
    if not isinstance(outcome, Swept):
        raise Unavailable(f"holds can't be reaped: {outcome}")
    _reaped.inc(outcome.reaped)
    return outcome.reaped
