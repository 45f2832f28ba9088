"""The event stream beside the ledger: given again where Redis lost writes or may have, and how far
it is there.

Ingest acknowledges an event when it is on disk in Redis. So what was acknowledged before Redis was
looked at is in the ledger as soon as that has the entry which was Redis's latest then, the very
one. From the last place of which that is known a recovery replays the stream: no event that was
acknowledged comes before it, however old it is, and however long it lay on the stream.
"""

from typing import Any

import structlog
from msgspec import Struct, structs
from nats.aio.client import Client
from psycopg import AsyncConnection

from atp_service.facts import Facts
from atp_service.ledger import Ledger, stream_checkpoints
from atp_service.ledger.stream_checkpoints import Due, Mark
from atp_service.store import Fenced
from atp_service.store.epoch_guard import RedisHeader
from atp_service.store.raw_partition import Site
from atp_service.workers.rebuild.stream.replay import Reach, Replayed, acknowledged, last_of, replay
from atp_service.workers.rebuild.stream.suspected_loss import Doubts, may_have_lost

log = structlog.get_logger()


class Reached(Struct, frozen=True):
    """How far the stream is in a Redis, to be noted when the ledger has it too.

    `due` is what it was replayed for, None where it is what was acknowledged; `mark` is None where
    it has to be replayed once more.
    """

    redis_epoch: int
    due: Due | None
    mark: Mark | None
    done: Replayed


class Events:
    """The events of one partition."""

    def __init__(self, client: Client, stream: str, consumer: str, partition: int) -> None:
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._partition = partition

    async def replay(
        self, facts: Facts, connection: AsyncConnection[Any], site: Site, due: Due
    ) -> Reached:
        """Give again what may have been lost: what comes after the last place that was noted.

        Raises Away; and Unavailable or Fenced as the store does.
        """
        before = await site.header()
        last = await last_of(self._client, self._stream)
        if last is None:
            return Reached(0, due, None, Replayed())
        after = await stream_checkpoints.recorded_through(
            connection, self._partition, self._stream, last.created_at
        )
        if after > last.seq:
            after = 0  # the stream was set back: its numbers are given again
        done = await replay(
            self._client, facts, self._stream, self._partition, after=after, through=last.seq
        )
        header = await site.header()
        gone = may_have_lost(before, header) or done.seq > (header.seq or 0)
        whole = not (done.waiting or gone)
        log.info(
            "events_replayed",
            partition=self._partition,
            rebuild=due.epoch,
            doubts=due.doubts,
            after=after,
            whole=whole,
            **structs.asdict(done),
        )
        mark = self._mark(last, header) if whole else None
        return Reached(header.epoch or 0, due, mark, done)

    async def acknowledged(self, ledger: Ledger, site: Site, doubts: Doubts) -> Reached | None:
        """What is acknowledged, beside the Redis that has it; None where it can't be said now.

        A doubt that this look gives rise to is in the ledger when it returns. Raises Away; the
        ledger's Unavailable; and Fenced where Redis doesn't continue the ledger.
        """
        reach = await acknowledged(self._client, self._stream, self._consumer)
        if reach is None:
            return None
        position = await ledger.position(self._partition)
        header = await site.header()
        try:
            await site.compare(header, position)
        except Fenced as fence:
            # Or, while we looked, entries were recorded and let go of.
            moved = position != await ledger.position(self._partition)
            if fence.cause == "ledger-behind" and moved:
                return None
            raise
        if position is None:
            return None
        await doubts.weigh(position, header)
        return Reached(header.epoch or 0, None, self._mark(reach, header), Replayed())

    async def note(self, connection: AsyncConnection[Any], reached: Reached) -> bool:
        """Note how far the stream is, if the ledger has all that came of it by now."""
        if reached.mark is None:
            return False
        if reached.due is None:
            return await stream_checkpoints.acknowledged(connection, self._partition, reached.mark)
        return await stream_checkpoints.replayed(
            connection, self._partition, reached.mark, reached.due, reached.done.events
        )

    def _mark(self, reach: Reach, header: RedisHeader) -> Mark:
        return Mark(self._stream, reach.created_at, reach.seq, header.seq or 0, header.digest)
