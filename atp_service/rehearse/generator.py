"""The load, in a process of its own: `python -m atp_service.rehearse.generator PLAN HISTORY`.

Open loop: every arrival is worked out beforehand, and a call's latency counts from the moment it
was due. A service that stalls can neither slow the arrivals down nor hide its stall (what is known
as coordinated omission). Within a visit a click is due when the answer before it has come and the
buyer has thought.

Prints a line of JSON on how it goes, now and then; the history goes into a file.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from atp_service.processes.child import die_with_parent
from atp_service.rehearse.calls import click_request, encode, fact_request
from atp_service.rehearse.history import Call, CallKind, History, Second, write_history
from atp_service.rehearse.journey import Ask, Cart, Line, journey
from atp_service.rehearse.nats_client import TAKEN, Bus
from atp_service.rehearse.operations import Fact, Operations
from atp_service.rehearse.retrying_client import Asked, Patient
from atp_service.rehearse.run_names import Goods
from atp_service.rehearse.scenario import Phase, Scenario
from atp_service.rehearse.schedule import arrivals, multiple_at, phase_at
from atp_service.rehearse.wire import Address

TELL_EVERY_SECONDS = 0.5
_AHEAD_SECONDS = 0.3  # between the announcement and the first arrival


class Plan(Struct, kw_only=True):
    """What the generator is told."""

    url: str
    nats_url: str | None
    scenario: Scenario
    goods: Goods
    received: dict[str, int]
    seed: int


class Told(Struct, kw_only=True):
    """How it goes; `clock_at` is the start on the machine's monotonic clock."""

    clock_at: float
    at: float
    phase: str
    arrived: int
    calls: int
    held: int
    refused: int
    faults: int
    under_way: int
    cpu_share: float
    done: bool = False


class _Reservation(Struct):
    """What is read of an answer, whichever it is."""

    status: str | int = ""
    type: str = ""
    generation: int = 0


class _Result(Struct):
    status: str = ""


class _Results(Struct):
    results: list[_Result] = []


_reservation = msgspec.json.Decoder(_Reservation).decode
_results = msgspec.json.Decoder(_Results).decode


class Generator:
    """Everybody who comes, from the first arrival until the last has gone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scenario = plan.scenario
        self._goods = plan.goods
        self._chance = Random(plan.seed)  # noqa: S311 – not for secrets
        buyer = plan.scenario.buyer
        self._service = Patient(
            Address.of(plan.url),
            patience_seconds=buyer.patience_seconds,
            gives_up_seconds=buyer.gives_up_seconds,
            chance=self._chance,
        )
        self._bus: Bus | None = None
        self._operations = Operations(plan.goods, self._chance)
        self._calls: list[Call] = []
        self._seconds: list[Second] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._arrived = 0
        self._held = 0
        self._refused = 0
        self._faults = 0

    async def run(self) -> History:
        plan = self._plan
        comings = list(arrivals(self._scenario))
        gc.collect()
        gc.freeze()
        if plan.nats_url is not None:
            self._bus = await Bus.connect(plan.nats_url, self._service)
        await asyncio.sleep(_AHEAD_SECONDS)
        started_at, clock_at = time.time(), self._service.begin()
        telling = asyncio.create_task(self._tell(clock_at))
        facts = asyncio.create_task(self._facts())
        for number, (due, phase) in enumerate(comings, 1):
            if (wait := due - self._service.now()) > 0:
                await asyncio.sleep(wait)
            self._arrived = number
            self._start(self._visit(number, due, phase))
        await facts
        while self._tasks:
            await asyncio.wait(self._tasks)
        telling.cancel()
        if self._failure is not None:
            raise self._failure  # a buyer of ours is broken: nothing that was seen counts
        self._say(clock_at, 0.0, done=True)
        self._service.connections.close()
        if self._bus is not None:
            await self._bus.close()
        return History(
            goods=plan.goods,
            started_at=started_at,
            clock_at=clock_at,
            hold_seconds=self._scenario.buyer.hold_seconds,
            received=plan.received,
            calls=self._calls,
            seconds=self._seconds,
            connections=self._service.connections.opened,
        )

    def _start(self, visit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(visit)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._failure = self._failure or task.exception()

    async def _visit(self, number: int, due: float, phase: Phase) -> None:
        name = f"{self._goods.run}-{number}"
        clicks = journey(self._scenario, self._goods, name, phase.sale, self._chance)
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
        """The best status of the copies: the lowest that is one."""
        request = click_request(ask, self._goods, self._scenario.buyer.hold_seconds)
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
        written = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = fact.event(written)
        cart = (Line(fact.sku, fact.quantity),)
        asking: Sequence[Callable[[], Awaitable[Asked]]]
        if self._bus is not None and fact.kind != "shipment":
            # Each copy is a message of its own: that they are one event is for the service to see.
            asking = [
                partial(
                    self._bus.publish,
                    f"atp.events.pos.{self._goods.run}",
                    f"{fact.source}:{fact.event_id}:{copy}",
                    encode(event),
                    due,
                )
                for copy in range(fact.copies)
            ]
        else:
            asking = [partial(self._service.ask, fact_request([event]), due)] * fact.copies
        await asyncio.gather(
            *(self._call(fact.kind, fact.event_id, cart, ask, due) for ask in asking)
        )

    async def _call(
        self,
        kind: CallKind,
        reference: str,
        cart: Cart,
        ask: Callable[[], Awaitable[Asked]],
        due: float,
    ) -> int:
        woken = self._service.now()
        asked = await ask()
        status = asked.answer.status if asked.answer else 0
        told, generation = _told(kind, asked)
        self._held += kind == "hold" and status == 201
        self._refused += status == 409
        self._faults += len(asked.faults)
        self._calls.append(
            Call(
                kind=kind,
                reference=reference,
                cart=cart,
                phase=phase_at(self._scenario, due).name,
                due=due,
                woken=woken,
                sent=asked.sent,
                answered=asked.answered,
                status=status,
                told=told,
                generation=generation,
                faults=asked.faults,
                fault_times=asked.fault_times,
            )
        )
        return status

    async def _tell(self, clock_at: float) -> None:
        while True:
            cpu, at = time.process_time(), self._service.now()
            await asyncio.sleep(TELL_EVERY_SECONDS)
            seconds = self._service.now() - at
            share = (time.process_time() - cpu) / seconds
            self._seconds.append(Second(at=at + seconds, cpu_share=share))
            self._say(clock_at, share)

    def _say(self, clock_at: float, cpu_share: float, *, done: bool = False) -> None:
        at = self._service.now()
        ended = multiple_at(self._scenario, at) is None
        told = Told(
            clock_at=clock_at,
            at=at,
            phase="the last leave" if ended else phase_at(self._scenario, at).name,
            arrived=self._arrived,
            calls=len(self._calls),
            held=self._held,
            refused=self._refused,
            faults=self._faults,
            under_way=len(self._tasks),
            cpu_share=cpu_share,
            done=done,
        )
        print(msgspec.json.encode(told).decode(), flush=True)


def _told(kind: CallKind, asked: Asked) -> tuple[str, int]:
    """What the answer says became of it, in a word; and the reservation's generation."""
    if asked.answer is None or kind == "browse":
        return "", 0
    if asked.answer is TAKEN:
        return "published", 0
    try:
        if kind in ("hold", "change", "confirm"):
            said = _reservation(asked.answer.body)
            return said.type.rpartition(":")[2] or str(said.status), said.generation
        if asked.answer.status == 200:
            return _results(asked.answer.body).results[0].status, 0
        return _reservation(asked.answer.body).type.rpartition(":")[2], 0
    except (msgspec.DecodeError, IndexError):
        return "unreadable", 0


def main() -> None:
    plan_path, history_path = map(Path, sys.argv[1:])
    die_with_parent(os.getppid(), signal.SIGKILL)
    plan = msgspec.msgpack.decode(plan_path.read_bytes(), type=Plan)
    uvloop.run(_generate(plan, history_path))


async def _generate(plan: Plan, history_path: Path) -> None:
    # Returns nothing: asyncio would spell out all of a result when it puts back the signals.
    write_history(await Generator(plan).run(), history_path)


if __name__ == "__main__":
    main()
