"""Events that NATS still has are applied again: Redis had taken them and then lost them.

The same way in as ingest's, so that what is known is a duplicate. From the first that may have been
acknowledged and not recorded, by its place on the stream: its time says nothing, since an event may
have waited there for hours before it was taken in.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo
from nats.js.errors import NotFoundError

from atp_service.facts import Arrival, EventResult, Facts, arrival_of
from atp_service.jetstream.delivery import delivery_of
from atp_service.store import Fenced, Unavailable

log = structlog.get_logger()

_AT_ONCE: Final = 500
_ANSWER_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0  # then the server forgets a consumer whose rebuild has died
_TOLD_EVERY: Final = 50_000
_ATTEMPTS: Final = 5
_AGAIN_SECONDS: Final = 0.3
_NO_MORE: Final = ("404", "408")  # all other words of the server mean that it has been broken off


class Away(Exception):
    """NATS can't be asked now, or has broken off what it was asked for."""


class Replayed(Struct):
    """How many events were given again, how many of them were news, and how many still wait; and
    the latest entry that came of them."""

    events: int = 0
    news: int = 0
    waiting: int = 0
    seq: int = 0


class Reach(Struct, frozen=True):
    """A stream, told from others of its name by when it was made, and a place on it."""

    created_at: datetime
    seq: int


async def last_of(client: Client, stream: str) -> Reach | None:
    """The stream's latest event; None where there is no such stream. Raises Away."""
    with _away():
        info = await _stream(client, stream)
        return None if info is None else Reach(_made(info), info.state.last_seq)


async def acknowledged(client: Client, stream: str, consumer: str) -> Reach | None:
    """The event up to which all are acknowledged; None where nobody takes any. Raises Away."""
    with _away():
        # The stream first: if it is made anew meanwhile, what is answered is of neither.
        info = await _stream(client, stream)
        if info is None:
            return None
        try:
            told = await client.jetstream(timeout=_ANSWER_SECONDS).consumer_info(stream, consumer)
        except NotFoundError:
            return None
        floor = told.ack_floor.stream_seq if told.ack_floor is not None else 0
        return Reach(_made(info), floor)


async def replay(
    client: Client, facts: Facts, stream: str, *, after: int, through: int
) -> Replayed:
    """Give the stream's events again, those after `after`, up to `through`.

    Raises Away; and Unavailable or Fenced as the store does.
    """
    done = Replayed()
    if after >= through:
        return done
    with _away():
        jetstream = client.jetstream(timeout=_ANSWER_SECONDS)
        consumer = await jetstream.add_consumer(
            stream,
            ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after + 1,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=_IDLE_SECONDS,
                mem_storage=True,
            ),
        )
        try:
            pull = _Pull(client, stream, consumer.name)
            await _replay(pull, facts, through, done)
        finally:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await jetstream.delete_consumer(stream, consumer.name)
    return done


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (nats.errors.Error, TimeoutError, OSError) as fault:
        raise Away(str(fault) or type(fault).__name__) from fault


async def _stream(client: Client, stream: str) -> StreamInfo | None:
    try:
        return await client.jetstream(timeout=_ANSWER_SECONDS).stream_info(stream)
    except NotFoundError:
        return None


def _made(info: StreamInfo) -> datetime:
    if info.created is None:
        raise Away("NATS doesn't say when the stream was made")
    return info.created


async def _replay(pull: "_Pull", facts: Facts, last_seq: int, done: Replayed) -> None:
    coming = asyncio.create_task(pull.group())
    try:
        while group := await coming:
            arrived = [(message, delivery_of(message.reply)) for message in group]
            coming = asyncio.create_task(pull.group())
            arrivals = [
                arrival_of(m.data, m.subject, d, m.headers) for m, d in arrived if d.seq <= last_seq
            ]
            results = await _until_settled(facts, arrivals)
            before, done.events = done.events, done.events + len(results)
            done.news += sum(r.status not in ("duplicate", "waiting") for r in results)
            done.waiting += sum(r.status == "waiting" for r in results)
            done.seq = max([done.seq, *(r.seq for r in results)])
            if before // _TOLD_EVERY != done.events // _TOLD_EVERY:
                log.info("events_being_replayed", events=done.events, news=done.news)
            if arrived[-1][1].seq >= last_seq:
                return
        # What the stream no longer keeps does not come; anything else would have.
        await pull.had_all()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _until_settled(facts: Facts, arrivals: Sequence[Arrival]) -> list[EventResult]:
    """What became of them; those that have to wait are given a few more times."""
    results = await _applied(facts, arrivals)
    for _ in range(_ATTEMPTS):
        waiting = [i for i, result in enumerate(results) if result.status == "waiting"]
        if not waiting:
            break
        await asyncio.sleep(_AGAIN_SECONDS)
        again = await _applied(facts, [arrivals[i] for i in waiting])
        for i, result in zip(waiting, again, strict=True):
            results[i] = result
    return results


async def _applied(facts: Facts, arrivals: Sequence[Arrival]) -> list[EventResult]:
    """As ingest does: one that facts stumble over doesn't hold up the others."""
    try:
        return list(await facts.apply(arrivals))
    except (Unavailable, Fenced):
        raise
    except Exception as fault:
        if len(arrivals) == 1:
            log.exception("event_faulted", arrival_id=arrivals[0].arrival_id)
            return [await facts.keep(arrivals[0], fault)]
        return [(await _applied(facts, [arrival]))[0] for arrival in arrivals]


class _Pull:
    """Asks for messages by the group, without acknowledging any. None is missed unnoticed: what
    the consumer has sent is counted beside what has come."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._come = 0

    async def group(self) -> list[Msg]:
        """The next messages, in order; none at the end. Raises Away, or TimeoutError."""
        inbox = self._client.new_inbox()
        group: list[Msg] = []
        status: list[str] = []
        ended = asyncio.Event()

        async def take(message: Msg) -> None:
            if message.subject == inbox:
                headers = message.headers or {}
                status.append(headers.get("Status", ""))
                status.append(headers.get("Description", ""))
                ended.set()
                return
            group.append(message)
            if len(group) == _AT_ONCE:
                ended.set()

        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        subscription = await self._client.subscribe(inbox, cb=take)
        try:
            request = json.dumps({"batch": _AT_ONCE, "no_wait": True}).encode()
            await self._client.publish(subject, request, inbox)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await ended.wait()
        finally:
            await subscription.unsubscribe()
        if status and status[0] not in _NO_MORE:
            raise Away(f"NATS broke off: {' '.join(status).strip()}")
        self._come += len(group)
        if group and group[-1].metadata.sequence.consumer != self._come:
            raise Away("messages were lost on the way")
        return group

    async def had_all(self) -> None:
        """Raises Away unless all that the consumer has, has come."""
        jetstream = self._client.jetstream(timeout=_ANSWER_SECONDS)
        told = await jetstream.consumer_info(self._stream, self._consumer)
        sent = told.delivered.consumer_seq if told.delivered is not None else 0
        if told.num_pending != 0 or sent != self._come:
            raise Away(f"of the stream {told.num_pending} messages have not come")
