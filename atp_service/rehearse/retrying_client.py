"""A client that retries until a definite response comes: after a timeout, a reset or a 5xx."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from msgspec import Struct
from nats.aio.client import Client
from nats.errors import Error as NatsError

from atp_service.rehearse.calls import Request
from atp_service.rehearse.http_client import Address, Answer, Connections, Unanswered

TAKEN = Answer(200, b"", 0.0)  # by the stream
_LATER = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 1.0


class Attempts(Struct, kw_only=True):
    """The attempts of one call.

    `sent` is when the first one went over the wire (0: none did), `answered` when the last one
    ended; `answer` is None if no definite response came. `faults` has a word for each other
    attempt, `fault_times` when it ended. Times are seconds since `begin`.
    """

    sent: float = 0.0
    answered: float = 0.0
    answer: Answer | None = None
    faults: list[str] = []
    fault_times: list[float] = []


class RetryingClient:
    """One service's client; its times are seconds since `begin` was called."""

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
        """Start to count seconds; returns the moment on the clock."""
        self._began = self._clock()
        return self._began

    def now(self) -> float:
        return self._clock() - self._began

    async def ask(self, request: Request, due: float) -> Attempts:
        """Send a request until a definite response comes, or it is too long since it was due."""
        raw = self._address.raw(request)

        async def attempt(attempts: Attempts) -> Answer:
            async with self.connections.connection() as connection:
                attempts.sent = attempts.sent or self.now()
                return await connection.ask(raw, self.patience_seconds)

        return await self.until_answered(attempt, due)

    async def until_answered(
        self, attempt: Callable[[Attempts], Awaitable[Answer]], due: float
    ) -> Attempts:
        """Make attempts, as `ask` does; each sets `sent`, and raises Unanswered if it fails."""
        attempts = Attempts()
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            retry_after = 0.0
            try:
                answer = await attempt(attempts)
            except Unanswered as fault:
                attempts.faults.append(fault.reason)
            else:
                if answer.status not in _LATER:
                    attempts.answer, attempts.answered = answer, self.now()
                    return attempts
                attempts.faults.append(str(answer.status))
                retry_after = answer.retry_after
            attempts.fault_times.append(self.now())
            pause = max(retry_after, wait_seconds * self._chance.uniform(0.5, 1.5))
            wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)
            if self.now() + pause > due + self._gives_up_seconds:
                attempts.answered = self.now()
                return attempts
            await asyncio.sleep(pause)


class Bus:
    """One connection. What becomes of a fact is not answered here: the ledger will say."""

    def __init__(self, client: Client, patient: RetryingClient) -> None:
        self._jetstream = client.jetstream()
        self._client = client
        self._patient = patient

    @classmethod
    async def connect(cls, url: str, patient: RetryingClient) -> "Bus":
        client = Client()
        await client.connect(url, name="atp rehearse", max_reconnect_attempts=-1, error_cb=_passed)
        return cls(client, patient)

    async def publish(self, subject: str, message_id: str, payload: bytes, due: float) -> Attempts:
        async def attempt(attempts: Attempts) -> Answer:
            attempts.sent = attempts.sent or self._patient.now()
            try:
                await self._jetstream.publish(
                    subject,
                    payload,
                    timeout=self._patient.patience_seconds,
                    headers={"Nats-Msg-Id": message_id},
                )
            except (NatsError, TimeoutError, OSError) as fault:
                raise Unanswered(f"NATS {type(fault).__name__}") from fault
            return TAKEN

        return await self._patient.until_answered(attempt, due)

    async def close(self) -> None:
        await self._client.close()


async def _passed(_fault: Exception) -> None:
    """The publisher gets the fault too, and retries."""
