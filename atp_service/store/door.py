"""The one door: every change of stock goes through here, in batches, through the script.

While a batch is in flight commands queue; when it returns the queue goes, as several capped calls
in one pipeline if need be. No timers: an idle system adds no latency. A lost reply is asked for
again, which is harmless, since every command carries its own idempotency key.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
from prometheus_client import Histogram
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from atp_service.inventory.commands import (
    Command,
    Extend,
    Fulfil,
    Hold,
    NoPick,
    Release,
    Replace,
    SafetyStock,
    encode_command,
    weight,
)
from atp_service.inventory.journal import FORMAT
from atp_service.inventory.outcomes import Outcome, decode_outcome
from atp_service.metrics import LATENCY_BUCKETS, REGISTRY
from atp_service.store.connection import Wire
from atp_service.store.epoch_guard import EpochGuard
from atp_service.store.errors import Fenced, Overloaded, Unavailable
from atp_service.store.keys import Keys
from atp_service.store.script import Script

LINES_PER_CALL = 128  # a call stays within a few ms
CALLS_PER_PIPELINE = 16
# Work that may wait, in lines, a command being as much as several: a tenth of a second or two.
# Beyond it a promise is refused at once.
LINES_A_COMMAND = 7
PROMISES_WAITING = 8_192
# Facts, confirms and releases are owed, so they are let in long after promises are not.
WAITING = 16 * PROMISES_WAITING
PATIENCE_SECONDS = 3.0  # how long a batch is asked again after a lost reply
MEMORY_CHECK_SECONDS = 1.0
MEMORY_SHARE_FOR_PROMISES = 0.85

_batch_commands = Histogram(
    "atp_door_batch_commands",
    "Commands sent to Redis in one round trip",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
    registry=REGISTRY,
)
_queue_seconds = Histogram(
    "atp_door_queue_seconds",
    "Longest wait in the door's queue, per round trip",
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
_round_trip_seconds = Histogram(
    "atp_door_round_trip_seconds",
    "Time of one round trip of the door, fsync included",
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)


class _Asked:
    """The commands of one caller, whose outcomes are returned together."""

    __slots__ = ("answer", "left", "outcomes", "since")

    def __init__(self, count: int) -> None:
        self.answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.outcomes: list[Any] = [None] * count
        self.left = count
        self.since = time.monotonic()

    def settle(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self.left -= 1
        if self.left == 0 and not self.answer.done():
            self.answer.set_result(self.outcomes)

    def fail(self, fault: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


class _Queued:
    """One command on its way: as it is sent, what it weighs, and who waits for it."""

    __slots__ = ("asked", "blob", "place", "weight")

    def __init__(self, blob: bytes, weight: int, asked: _Asked, place: int) -> None:
        self.blob = blob
        self.weight = weight
        self.asked = asked
        self.place = place


_PROMISES = frozenset({Hold, Replace})
_NOT_REPEATABLE = frozenset({Release, Fulfil, NoPick, Extend, Replace, SafetyStock})


def repeatable(command: Command) -> Command:
    """Part of a line, given or taken twice, is another change; and what was set may have been set
    anew by somebody else before it is sent again. Such a command needs a key.
    """
    if type(command) in _NOT_REPEATABLE and getattr(command, "key", None) is None:
        return msgspec.structs.replace(command, key=f"~{secrets.token_hex(8)}")
    return command


class Door:
    """The door of one partition."""

    def __init__(
        self,
        wire: Wire,
        guard: EpochGuard,
        keys: Keys,
        script: Script,
        *,
        partition: int,
        window_ms: int,
    ) -> None:
        self._wire = wire
        self._guard = guard
        self._partition = partition
        self._script = script
        self._prefix = ("EVALSHA", script.sha, len(keys), *keys)
        self._window_ms = b"%d" % window_ms
        self._queue: deque[_Queued] = deque()
        self._waiting = 0  # work in the queue, in lines
        self._task: asyncio.Task[None] | None = None
        self._promises_refused = False
        self._memory_checked = 0.0

    async def apply_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """The outcomes, in order. Raises Unavailable or Fenced; then a retry makes it definite.

        Raises Overloaded where too much waits already: then nothing was taken.
        """
        if not commands:
            return []
        self._check_room(commands)
        asked = _Asked(len(commands))
        for place, command in enumerate(commands):
            command = repeatable(command)
            queued = _Queued(encode_command(command), weight(command), asked, place)
            self._queue.append(queued)
            self._waiting += queued.weight + LINES_A_COMMAND
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await asked.answer

    def _check_room(self, commands: Sequence[Command]) -> None:
        if self._waiting >= PROMISES_WAITING and (
            self._waiting >= WAITING or any(type(command) in _PROMISES for command in commands)
        ):
            raise Overloaded(len(self._queue))

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return len(self._queue)

    async def connect(self) -> None:
        """Have the guard look at Redis now, not with the first command."""
        await self._wire.exchange([("PING",)])

    async def close(self) -> None:
        """Finish what is in flight, then close."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=PATIENCE_SECONDS)
        await self._wire.close()

    async def _work(self) -> None:
        calls: list[list[_Queued]] = []
        try:
            while self._queue:
                calls = self._next_calls()
                started = time.monotonic()
                try:
                    epoch, replies = await self._send(calls)
                except (Unavailable, Fenced) as fault:
                    for call in calls:
                        for queued in call:
                            queued.asked.fail(fault)
                    continue
                self._settle(calls, replies, epoch)
                _batch_commands.observe(sum(map(len, calls)))
                _queue_seconds.observe(started - calls[0][0].asked.since)
                _round_trip_seconds.observe(time.monotonic() - started)
        except BaseException:
            # Stopping, or a fault of our own: nobody may be left waiting.
            for queued in [q for call in calls for q in call] + list(self._queue):
                queued.asked.fail(Unavailable("the door has closed"))
            self._queue.clear()
            self._waiting = 0
            raise
        finally:
            self._task = None

    def _next_calls(self) -> list[list[_Queued]]:
        calls: list[list[_Queued]] = []
        while self._queue and len(calls) < CALLS_PER_PIPELINE:
            call = [self._queue.popleft()]
            lines = call[0].weight
            while self._queue and lines + self._queue[0].weight <= LINES_PER_CALL:
                queued = self._queue.popleft()
                lines += queued.weight
                call.append(queued)
            self._waiting -= lines + LINES_A_COMMAND * len(call)
            calls.append(call)
        return calls

    async def _send(self, calls: list[list[_Queued]]) -> tuple[int, list[Any]]:
        """The epoch, and the script's replies; asked again while a reply is lost, or the script
        is unknown."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        pause = 0.02
        while True:
            try:
                epoch, replies = await self._exchange(calls)
                errors = [reply for reply in replies if isinstance(reply, ResponseError)]
                if not errors or not await self._mended(errors):
                    return epoch, replies
                if time.monotonic() > give_up:
                    raise Unavailable(f"Redis goes on refusing: {errors[0]}")
            except Unavailable:
                if time.monotonic() + pause > give_up:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)

    async def _mended(self, errors: Sequence[ResponseError]) -> bool:
        """Whether calls may be sent again, because what refused them is mended. Raises Unavailable
        where that takes somebody else."""
        if any(isinstance(error, NoScriptError) for error in errors):
            (loaded,) = await self._wire.exchange([("SCRIPT", "LOAD", self._script.source)])
            if isinstance(loaded, ResponseError):
                raise Unavailable(f"the script can't be loaded: {loaded}")
            return True
        if any(is_fenced(error) for error in errors):
            # Another epoch or format: the next connection is compared anew, or refused.
            self._guard.forget()
            await self._wire.close()
            return True
        if any(is_read_only(error) for error in errors):
            # A master no longer: whoever is it now answers on a new connection.
            await self._wire.close()
            raise Unavailable(str(errors[0]))
        return False

    async def _exchange(self, calls: list[list[_Queued]]) -> tuple[int, list[Any]]:
        refused = b"1" if self._promises_refused else b"0"
        if not self._guard.epoch:
            await self.connect()
        epoch = self._guard.epoch
        head = (*self._prefix, epoch, FORMAT, refused, self._window_ms)
        requests = [(*head, *[queued.blob for queued in call]) for call in calls]
        check_memory = time.monotonic() - self._memory_checked > MEMORY_CHECK_SECONDS
        if not check_memory:
            return epoch, await self._wire.exchange(requests)
        *replies, report = await self._wire.exchange([*requests, ("INFO", "memory")])
        self._memory_checked = time.monotonic()
        self._promises_refused = nearly_full(report)
        return epoch, replies

    def _settle(self, calls: list[list[_Queued]], replies: list[Any], epoch: int) -> None:
        again: list[_Queued] = []
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, ResponseError):
                fault = Unavailable(str(reply))
                for queued in call:
                    queued.asked.fail(fault)
                continue
            for queued, answered in zip(call, reply, strict=True):
                if answered[0] == b"again":
                    again.append(queued)
                    continue
                try:
                    outcome = decode_outcome(answered, self._partition, epoch)
                except (msgspec.DecodeError, UnicodeDecodeError) as damaged:
                    # Of a document that somebody has damaged: nobody else may suffer for it.
                    queued.asked.fail(Unavailable(f"the answer can't be read: {damaged}"))
                    continue
                queued.asked.settle(queued.place, outcome)
        self._queue.extendleft(reversed(again))
        self._waiting += sum(queued.weight + LINES_A_COMMAND for queued in again)


def is_fenced(error: ResponseError) -> bool:
    return str(error).startswith(("FENCED", "FORMAT"))


def is_read_only(error: ResponseError) -> bool:
    """Redis 6.2 has what a script ran into in the middle of its own words."""
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


def nearly_full(report: Any) -> bool:
    """Whether INFO's memory section shows more than 85 % of maxmemory in use."""
    if not isinstance(report, bytes):
        return False
    numbers = dict(line.split(b":", 1) for line in report.splitlines() if b":" in line)
    limit = int(numbers.get(b"maxmemory", 0))
    return limit > 0 and int(numbers.get(b"used_memory", 0)) > MEMORY_SHARE_FOR_PROMISES * limit
