"""Messages of a stream, applied once more as at ingest: a known event is a duplicate.

They are chosen by their place on the stream. Their time says nothing: an event may have waited
there for hours before a worker took it in.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from atp_service.facts import Arrival, EventResult, Facts, arrival_of
from atp_service.jetstream.delivery import Delivery, delivery_of
from atp_service.jetstream.pull import Gone, Pull
from atp_service.jetstream.stream import acknowledged_through

log = structlog.get_logger()

_ANSWER_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0  # then the server forgets a consumer whose rebuild has died
_LOGGED_EVERY: Final = 50_000
_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 0.3


class NatsUnavailable(Exception):
    """NATS does not reply, or has broken off a replay."""


class Replayed(Struct):
    """`events` messages were applied; of these `news` were new, and `waiting` still wait. `seq` is
    the latest entry that came of them."""

    events: int = 0
    news: int = 0
    waiting: int = 0
    seq: int = 0


class StreamPosition(Struct, frozen=True):
    """A place on a stream; `created_at` tells the stream from others of its name."""

    created_at: datetime
    seq: int


async def last_of(client: Client, stream: str) -> StreamPosition | None:
    """The stream's latest message; None if there is no such stream. Raises NatsUnavailable."""
    with _unavailable():
        try:
            info = await client.jetstream(timeout=_ANSWER_SECONDS).stream_info(stream)
        except NotFoundError:
            return None
    if info.created is None:
        raise NatsUnavailable("NATS does not report when the stream was made")
    return StreamPosition(info.created, info.state.last_seq)


async def acknowledged(client: Client, stream: str, consumer: str) -> StreamPosition | None:
    """The message up to which all are acknowledged; None if there is no such stream or consumer.

    Raises NatsUnavailable.
    """
    # The stream first: if it is made anew meanwhile, the place counts for neither.
    last = await last_of(client, stream)
    if last is None:
        return None
    with _unavailable(), suppress(NotFoundError):
        jetstream = client.jetstream(timeout=_ANSWER_SECONDS)
        floor = await acknowledged_through(jetstream, stream, consumer)
        return StreamPosition(last.created_at, floor)
    return None


async def replay(
    client: Client, facts: Facts, stream: str, partition: int, *, after: int, through: int
) -> Replayed:
    """Apply the stream's messages after `after` once more, up to `through`.

    Every message up to `after` is in the ledger. Only entries of the partition count for the
    latest seq. Raises NatsUnavailable; and the store's Unavailable or Fenced.
    """
    done = Replayed()
    if after >= through:
        return done
    with _unavailable():
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
            async with Pull(client, stream, consumer.name) as pull:
                messages = _messages(pull, consumer.num_pending or 0, through)
                async for group in messages:
                    await _apply(facts, group, partition, done)
        finally:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await jetstream.delete_consumer(stream, consumer.name)
    return done


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (Gone, nats.errors.Error, TimeoutError, OSError) as fault:
        raise NatsUnavailable(str(fault) or type(fault).__name__) from fault


async def _messages(
    pull: Pull, pending: int, last_seq: int
) -> AsyncIterator[list[tuple[Msg, Delivery]]]:
    """Messages by the group up to `last_seq`, or to the consumer's last if the stream no longer
    keeps that one. Raises NatsUnavailable if a message is lost on the way."""
    consumed = 0
    while pending:
        group = await pull.group(_ANSWER_SECONDS)
        if not group:
            raise NatsUnavailable(f"{pending} messages of the stream did not arrive")
        deliveries = [delivery_of(message.reply) for message in group]
        consumed += len(group)
        if deliveries[-1].consumer_seq != consumed:
            raise NatsUnavailable("messages were lost on the way")
        delivered = zip(group, deliveries, strict=True)
        yield [(message, delivery) for message, delivery in delivered if delivery.seq <= last_seq]
        if deliveries[-1].seq >= last_seq:
            return
        pending = deliveries[-1].pending


async def _apply(
    facts: Facts, group: list[tuple[Msg, Delivery]], partition: int, done: Replayed
) -> None:
    # All messages before the first are in the ledger, so the order is that of the stream.
    in_order = not done.waiting
    arrivals = [
        arrival_of(message.data, message.subject, delivery, message.headers, in_order=in_order)
        for message, delivery in group
    ]
    before = done.events
    for events in await _until_settled(facts, arrivals):
        entries = [e.entry for e in events if e.entry and e.entry.partition == partition]
        done.events += 1
        done.news += any(e.status not in ("duplicate", "waiting") for e in events)
        done.waiting += _is_waiting(events)
        done.seq = max([done.seq, *(entry.seq for entry in entries)])
    if before // _LOGGED_EVERY != done.events // _LOGGED_EVERY:
        log.info("events_being_replayed", events=done.events, news=done.news)


async def _until_settled(facts: Facts, arrivals: Sequence[Arrival]) -> list[list[EventResult]]:
    """The results of each arrival's events; those that have to wait are tried a few more times."""
    results = await facts.apply_each(arrivals)
    for _ in range(_ATTEMPTS):
        waiting = [i for i, events in enumerate(results) if _is_waiting(events)]
        if not waiting:
            break
        await asyncio.sleep(_RETRY_SECONDS)
        retried = await facts.apply_each([arrivals[i] for i in waiting])
        for i, events in zip(waiting, retried, strict=True):
            results[i] = events
    return results


def _is_waiting(events: Sequence[EventResult]) -> bool:
    return any(event.status == "waiting" for event in events)
