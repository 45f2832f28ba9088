"""Redis compared with the ledger by one worker, and what that does to holds meanwhile.

Holds come over HTTP at a constant rate that is far from saturating anything; a late answer is late
by the clock of who sent the hold, whatever the sender waited for. Rounds without a comparison and
with one take turns.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from statistics import median, quantiles

import uvloop

from atp_service import app
from atp_service.inventory.commands import Receipt
from atp_service.ledger import reconciliations
from atp_service.ledger.reconciliations import Reconciliation, Scope
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import Instance, instance
from loadtests.bench.wire import free_port

SECONDS = 60.0
P99_TIMES = 1.5
RATE = 200  # holds a second
SKUS_HELD = 1_000
CONNECTIONS = 16
LOCATIONS = 20
_AT_ONCE = 2_000
_RECORDED_SECONDS = 600.0
_LOOK_SECONDS = 0.1


def measure(*, quick: bool) -> Result:
    """1,000,000 levels, and holds of some of them; the worker records and expires too."""
    rounds, skus, idle_seconds = (1, 2_500, 4.0) if quick else (3, 50_000, 30.0)
    with instance() as here:
        port = free_port()
        here.serve(port)
        here.start(
            "worker",
            "atp_service",
            "worker",
            "--only",
            "record,expire,reconcile",
            ATP_RECONCILE_SECONDS="0",
        )
        return uvloop.run(_measured(here, port, rounds, skus, idle_seconds))


async def _measured(
    here: Instance, port: int, rounds: int, skus: int, idle_seconds: float
) -> Result:
    seconds: list[float] = []
    without: list[list[float]] = []
    beside: list[list[float]] = []
    async with app.connections(here.settings, "bench") as parts:
        await _load(parts, _receipts(skus))
        shop.stock(port, SKUS_HELD)
        holds = _Holds(port)
        for number in range(-1, rounds):
            alone = await holds.while_(lambda: asyncio.sleep(idle_seconds))
            run: Reconciliation | None = None

            async def reconcile() -> None:
                nonlocal run
                run = await _reconciled(parts)

            busy = await holds.while_(reconcile)
            if run is None or run.status != "done" or run.report.drift_total:
                raise RuntimeError(f"not compared, or something differs: {run}")
            if run.report.compared.levels < skus * LOCATIONS:
                raise RuntimeError(f"not all was compared: {run.report.compared}")
            if number >= 0:
                seconds.append(run.report.seconds)
                without.append(alone)
                beside.append(busy)
    return Result(
        checks=[
            Check(
                what=f"{skus * LOCATIONS:,} levels compared, and all else, at {RATE} holds/s",
                figures=seconds,
                target=SECONDS,
                at_most=True,
                unit="s",
            ),
            Check(
                what="p99 of holds meanwhile / without",
                figures=ratios([_p99_ms(x) for x in beside], [_p99_ms(x) for x in without]),
                target=P99_TIMES,
                at_most=True,
            ),
        ],
        notes=[_experience("without", without), _experience("meanwhile", beside)],
    )


def _receipts(skus: int) -> Iterator[Receipt]:
    for place in range(skus * LOCATIONS):
        yield Receipt(
            source="wms/dc-1",
            event_id=f"level-{place}",
            occurred_at_ms=time.time_ns() // 1_000_000,
            sku=shop.sku(place // LOCATIONS),
            location=f"STORE-{place % LOCATIONS:03d}",
            quantity=240,
        )


async def _load(parts: app.Connections, commands: Iterator[Receipt]) -> None:
    while part := list(islice(commands, _AT_ONCE)):
        await parts.store.apply_all(part)
    (last,) = await parts.store.last_entries()
    await parts.ledger.wait_for(last, _RECORDED_SECONDS)


async def _reconciled(parts: app.Connections) -> Reconciliation | None:
    """A run, over when this returns; the worker does it."""
    asked = await reconciliations.request(parts.ledger, Scope(), repair=False, asked_by="bench")
    while True:
        run = await reconciliations.get(parts.ledger, asked.id)
        if run is None or run.status in ("done", "failed"):
            return run
        await asyncio.sleep(_LOOK_SECONDS)


class _Holds:
    """Holds at a constant rate, whether or not the one before is answered."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def while_(self, goes_on: Callable[[], Awaitable[None]]) -> list[float]:
        """How long each hold took, in seconds."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        latencies: list[float] = []
        senders = [asyncio.create_task(self._send(due, latencies)) for _ in range(CONNECTIONS)]
        feeding = asyncio.create_task(_feed(due))
        try:
            await goes_on()
        finally:
            feeding.cancel()
            await due.join()
            for task in (feeding, *senders):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return latencies

    async def _send(
        self, due: "asyncio.Queue[tuple[float, bytes]]", latencies: list[float]
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                at, request = await due.get()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
                if not head.startswith(b"HTTP/1.1 201"):
                    raise RuntimeError(f"unexpected answer: {head + body!r}")
                latencies.append(time.perf_counter() - at)
                due.task_done()
        finally:
            writer.close()


async def _feed(due: "asyncio.Queue[tuple[float, bytes]]") -> None:
    at = time.perf_counter()
    while True:
        for request in shop.carts(SKUS_HELD, SKUS_HELD):
            at += 1 / RATE
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            due.put_nowait((at, request))


def _p99_ms(latencies: list[float]) -> float:
    return quantiles(latencies, n=100)[98] * 1000


def _experience(when: str, rounds: list[list[float]]) -> str:
    p50 = [median(latencies) * 1000 for latencies in rounds]
    p99 = [_p99_ms(latencies) for latencies in rounds]
    return f"holds {when}: p50 {around(p50, 'ms')}, p99 {around(p99, 'ms')}"
