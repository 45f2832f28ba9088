"""The replay of events that a Redis may have lost.

Ingest acknowledges an event when it is on disk in Redis. The ledger has it as soon as it has the
entry that was Redis's latest afterwards: that is a checkpoint. A recovery replays the stream from
the last checkpoint. No acknowledged event comes before it, however long it lay on the stream.
"""

from typing import Any

import structlog
from msgspec import structs
from nats.aio.client import Client
from psycopg import AsyncConnection

from atp_service.facts import Facts
from atp_service.ledger.stream_checkpoints import Checkpoint, PendingReplay, recorded_through
from atp_service.store.epoch_guard import RedisHeader
from atp_service.store.raw_partition import Site
from atp_service.workers.rebuild.stream.replay import Replayed, StreamPosition, last_of, replay
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()


async def recover(
    tools: Tools,
    client: Client,
    facts: Facts,
    connection: AsyncConnection[Any],
    site: Site,
    pending: PendingReplay,
) -> tuple[Replayed, Checkpoint | None]:
    """Replay the events after the last checkpoint; the next checkpoint, to be saved when the ledger
    has its entry, or None if the replay is still incomplete.

    Raises NatsUnavailable; and Unavailable or Fenced as the store does.
    """
    before = await site.header()
    last = await last_of(client, tools.stream)
    if last is None:
        return Replayed(), None
    after = await recorded_through(connection, tools.partition, tools.stream, last.created_at)
    if after > last.seq:
        after = 0  # the stream was set back: its numbers are used once more
    done = await replay(client, facts, tools.stream, tools.partition, after=after, through=last.seq)
    header = await site.header()
    lost = may_have_lost(before, header) or done.seq > (header.seq or 0)
    whole = not (done.waiting or lost)
    log.info(
        "events_replayed",
        partition=tools.partition,
        rebuild=pending.epoch,
        suspected_losses=pending.losses,
        after=after,
        whole=whole,
        **structs.asdict(done),
    )
    checkpoint = checkpoint_of(tools.stream, last, header)
    checkpoint = structs.replace(checkpoint, replay=pending, events=done.events)
    return done, checkpoint if whole else None


def checkpoint_of(stream: str, place: StreamPosition, header: RedisHeader) -> Checkpoint:
    """The place on the stream, beside the latest entry of a Redis that has all before it."""
    return Checkpoint(
        stream, place.created_at, place.seq, header.epoch or 0, header.seq or 0, header.digest
    )


def may_have_lost(before: RedisHeader, after: RedisHeader) -> bool:
    """Whether Redis may have lost writes from one look at it to the next.

    It has if it is another run (restored, or promoted), followed another Redis, or was set back.
    """
    if (before.run_id, before.history, before.epoch) != (after.run_id, after.history, after.epoch):
        return True
    seq_before, seq_after = before.seq or 0, after.seq or 0
    return seq_after < seq_before or (seq_after == seq_before and after.digest != before.digest)
