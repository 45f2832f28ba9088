"""The load, in a process of its own: `python -m atp_service.rehearse.generator`.

Open loop: every arrival is computed beforehand, and a call's latency counts from the moment it was
due. A service that stalls can neither slow the arrivals down nor hide its stall: no coordinated
omission. Within a visit a click is due when the answer before it has come and the buyer has
thought.

Reads a `Plan` from stdin. Writes lines of `Progress` to stdout, and after the last the `History`.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from atp_service.processes.child import die_with_parent
from atp_service.rehearse.calls import click_request, encode, fact_request
from atp_service.rehearse.history import FACTS, Call, CallKind, History
from atp_service.rehearse.http_client import Address
from atp_service.rehearse.journey import Ask, Cart, CartLine, journey
from atp_service.rehearse.operations import Fact, Operations
from atp_service.rehearse.retrying_client import TAKEN, Attempts, Bus, RetryingClient
from atp_service.rehearse.run_names import RunNames
from atp_service.rehearse.scenario import Phase, Scenario

_REPORT_EVERY_SECONDS = 0.5
_AHEAD_SECONDS = 0.3  # from the end of the set-up to second 0


class Plan(Struct, kw_only=True):
    """All that the generator needs; `received` are the units per SKU in stock."""

    url: str
    nats_url: str | None
    scenario: Scenario
    names: RunNames
    received: dict[str, int]


class Progress(Struct, kw_only=True):
    """The state of the sale `at` seconds after its start.

    `clock_at` is the start on the machine's monotonic clock. `arrived` and `under_way` count
    buyers, `held` and `refused` calls, `faults` attempts that were retried.
    """

    clock_at: float
    at: float = 0.0
    phase: str = ""
    arrived: int = 0
    held: int = 0
    refused: int = 0
    faults: int = 0
    under_way: int = 0
    done: bool = False


class _Document(Struct):
    """The fields of interest of a response: a reservation, the results of facts, a problem."""

    status: str | int = ""
    type: str = ""
    generation: int = 0
    results: list["_Document"] = []


_decode = msgspec.json.Decoder(_Document).decode


class Generator:
    """All buyers and all facts, from the first arrival until the last buyer has left."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scenario = plan.scenario
        self._names = plan.names
        self._chance = Random(1)  # noqa: S311 – not for secrets
        buyer = plan.scenario.buyer
        self._service = RetryingClient(
            Address.of(plan.url),
            patience_seconds=buyer.patience_seconds,
            gives_up_seconds=buyer.gives_up_seconds,
            chance=self._chance,
        )
        self._bus: Bus | None = None
        self._operations = Operations(plan.names, self._chance)
        self._calls: list[Call] = []
        self._cpu_shares: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._progress = Progress(clock_at=0.0)

    async def run(self) -> History:
        """Hold the sale; the record of all its calls."""
        plan = self._plan
        planned = list(self._scenario.arrivals())
        gc.collect()
        gc.freeze()
        if plan.nats_url is not None:
            self._bus = await Bus.connect(plan.nats_url, self._service)
        await asyncio.sleep(_AHEAD_SECONDS)
        started_at, clock_at = time.time(), self._service.begin()
        self._progress.clock_at = clock_at
        reports = asyncio.create_task(self._report_often())
        facts = asyncio.create_task(self._facts())
        for number, (due, phase) in enumerate(planned, 1):
            if (wait := due - self._service.now()) > 0:
                await asyncio.sleep(wait)
            self._progress.arrived = number
            self._start(self._visit(number, due, phase))
        await facts
        while self._tasks:
            await asyncio.wait(self._tasks)
        reports.cancel()
        if self._failure is not None:
            raise self._failure  # a fault of this generator: its record proves nothing
        self._report(done=True)
        self._service.connections.close()
        if self._bus is not None:
            await self._bus.close()
        return History(
            names=plan.names,
            started_at=started_at,
            clock_at=clock_at,
            hold_seconds=self._scenario.buyer.hold_seconds,
            received=plan.received,
            calls=self._calls,
            cpu_shares=self._cpu_shares,
        )

    def _start(self, visit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(visit)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._failure = self._failure or task.exception()

    async def _visit(self, number: int, due: float, phase: Phase) -> None:
        name = f"{self._names.run}-{number}"
        clicks = journey(self._scenario, self._names, name, phase.sale, self._chance)
        status = None
        while True:
            try:
                ask = next(clicks) if status is None else clicks.send(status)
            except StopIteration:
                return
            if ask.think_seconds:
                due = self._service.now() + ask.think_seconds
                await asyncio.sleep(ask.think_seconds)
            status = await self._click(ask, due)
            if ask.click == "confirm" and status == 200:
                self._operations.ship(name, ask.cart)

    async def _click(self, ask: Ask, due: float) -> int:
        """The lowest status of the copies; 0 if none had a definite response."""
        request = click_request(ask, self._names, self._scenario.buyer.hold_seconds)
        asking = partial(self._service.ask, request, due)
        copies = [
            self._call(ask.click, ask.reservation_id, ask.cart, asking, due)
            for _ in range(ask.copies)
        ]
        statuses = [await copies[0]] if ask.copies == 1 else await asyncio.gather(*copies)
        return min((status for status in statuses if status), default=0)

    async def _facts(self) -> None:
        """Facts at their rate, for as long as buyers arrive."""
        rate = self._scenario.operations.facts_per_second
        number, now = 0, self._service.now
        while rate > 0 and (due := number / rate) < self._scenario.seconds:
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            self._start(self._fact(self._operations.next(), due))
            number += 1

    async def _fact(self, fact: Fact, due: float) -> None:
        event = fact.event(datetime.now(UTC))
        cart = (CartLine(fact.sku, fact.quantity),)
        subject = f"atp.events.pos.{self._names.run}"
        calls = []
        for copy in range(fact.copies):
            if self._bus is not None and fact.kind != "shipment":
                # Each copy is a message of its own: the service must see that they are one event.
                message_id = f"{fact.source}:{fact.event_id}:{copy}"
                ask = partial(self._bus.publish, subject, message_id, encode(event), due)
            else:
                ask = partial(self._service.ask, fact_request([event]), due)
            calls.append(self._call(fact.kind, fact.event_id, cart, ask, due))
        await asyncio.gather(*calls)

    async def _call(
        self,
        kind: CallKind,
        reference: str,
        cart: Cart,
        ask: Callable[[], Awaitable[Attempts]],
        due: float,
    ) -> int:
        woken = self._service.now()
        attempts = await ask()
        status = attempts.answer.status if attempts.answer else 0
        outcome, generation = _outcome(kind, attempts)
        self._progress.held += kind == "hold" and status == 201
        self._progress.refused += status == 409
        self._progress.faults += len(attempts.faults)
        self._calls.append(
            Call(
                kind=kind,
                reference=reference,
                cart=cart,
                phase=self._scenario.phase_at(due).name,
                due=due,
                woken=woken,
                sent=attempts.sent,
                answered=attempts.answered,
                status=status,
                outcome=outcome,
                generation=generation,
                faults=attempts.faults,
                fault_times=attempts.fault_times,
            )
        )
        return status

    async def _report_often(self) -> None:
        while True:
            cpu, at = time.process_time(), self._service.now()
            await asyncio.sleep(_REPORT_EVERY_SECONDS)
            self._cpu_shares.append((time.process_time() - cpu) / (self._service.now() - at))
            self._report()

    def _report(self, *, done: bool = False) -> None:
        progress, at = self._progress, self._service.now()
        ended = at >= self._scenario.seconds
        progress.at, progress.under_way, progress.done = at, len(self._tasks), done
        progress.phase = "the last leave" if ended else self._scenario.phase_at(at).name
        print(encode(progress).decode(), flush=True)


def _outcome(kind: CallKind, attempts: Attempts) -> tuple[str, int]:
    """`Call.outcome` and the reservation's generation."""
    if attempts.answer is None or kind == "browse":
        return "", 0
    if attempts.answer is TAKEN:
        return "published", 0
    try:
        document = _decode(attempts.answer.body)
        if document.type:
            return document.type.rpartition(":")[2], 0
        if kind in FACTS:
            return str(document.results[0].status), 0
    except (msgspec.DecodeError, IndexError):
        return "unreadable", 0
    return str(document.status), document.generation


async def _generate(plan: Plan) -> None:
    # Returns nothing: asyncio would format all of a result when it restores the signal handlers.
    history = await Generator(plan).run()
    sys.stdout.buffer.write(msgspec.msgpack.encode(history))


if __name__ == "__main__":
    die_with_parent(os.getppid(), signal.SIGKILL)
    uvloop.run(_generate(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)))
