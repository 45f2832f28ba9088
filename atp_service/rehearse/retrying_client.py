"""Asking until a definite answer comes: a timeout, a 5xx or a reset becomes one on a retry."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from msgspec import Struct

from atp_service.rehearse.calls import Request
from atp_service.rehearse.wire import Address, Answer, Connections, Unanswered

_LATER = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 1.0


class Asked(Struct, kw_only=True):
    """How a call went; `answer` is None where nobody ever gave a definite one."""

    sent: float
    answered: float
    answer: Answer | None
    faults: list[str]
    fault_times: list[float]


class Patient:
    """Asks the service; times are seconds since `begin` was called."""

    def __init__(
        self,
        address: Address,
        *,
        patience_seconds: float,
        gives_up_seconds: float,
        chance: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections = Connections(address)
        self._address = address
        self.patience_seconds = patience_seconds
        self._gives_up_seconds = gives_up_seconds
        self._chance = chance
        self._clock = clock
        self._began = clock()

    def begin(self) -> float:
        """Times count from here; the moment itself, on the clock."""
        self._began = self._clock()
        return self._began

    def now(self) -> float:
        return self._clock() - self._began

    async def ask(self, request: Request, due: float) -> Asked:
        """The same request, again and again, until an answer or until nobody believes in one."""
        raw = self._address.raw(request)
        return await self.until_answered(lambda asked: self._once(raw, asked), due)

    async def until_answered(
        self, attempt: Callable[[Asked], Awaitable[Answer]], due: float
    ) -> Asked:
        """Attempts, each of which raises Unanswered or notes when it was sent."""
        asked = Asked(sent=0.0, answered=0.0, answer=None, faults=[], fault_times=[])
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            retry_after = 0.0
            try:
                answer = await attempt(asked)
            except Unanswered as fault:
                asked.faults.append(fault.reason)
            else:
                if answer.status not in _LATER:
                    asked.answer = answer
                    asked.answered = self.now()
                    return asked
                asked.faults.append(str(answer.status))
                retry_after = answer.retry_after
            asked.fault_times.append(self.now())
            pause = max(retry_after, wait_seconds * self._chance.uniform(0.5, 1.5))
            wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)
            if self.now() + pause > due + self._gives_up_seconds:
                asked.answered = self.now()
                return asked
            await asyncio.sleep(pause)

    async def _once(self, raw: bytes, asked: Asked) -> Answer:
        connection = await self.connections.take()
        try:
            if not asked.sent:
                asked.sent = self.now()
            return await connection.ask(raw, self.patience_seconds)
        finally:
            self.connections.give_back(connection)
