"""Questions of many callers, asked together: the next gather while a round trip is under way."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Gatherer(Generic[Q, A]):
    """`ask_all` takes up to `at_once` questions, and returns their answers in order.

    Its faults are raised to the callers of the round trip. `unavailable` is raised to the callers
    that still wait when it is closed.
    """

    def __init__(
        self,
        ask_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        at_once: int = sys.maxsize,
        unavailable: type[Exception],
    ) -> None:
        self._ask_all = ask_all
        self._at_once = at_once
        self._unavailable = unavailable
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer. Raises what `ask_all` raises."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await answer

    def close(self) -> None:
        """End the round trip under way."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        asked: list[tuple[Q, asyncio.Future[A]]] = []
        try:
            while self._waiting:
                asked = self._waiting[: self._at_once]
                del self._waiting[: self._at_once]
                try:
                    answers = await self._ask_all([question for question, _ in asked])
                except Exception as fault:
                    if isinstance(fault.__cause__, TimeoutError):
                        # The server hangs. No caller waits for more than one round trip.
                        asked, self._waiting = [*asked, *self._waiting], []
                    _fail(asked, fault)
                    continue
                for (_, answer), value in zip(asked, answers, strict=True):
                    if not answer.done():
                        answer.set_result(value)
        finally:
            self._task = None
            _fail([*asked, *self._waiting], self._unavailable("the service is stopping"))
            self._waiting = []


def _fail(asked: Sequence[tuple[Q, asyncio.Future[A]]], fault: Exception) -> None:
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(fault)
