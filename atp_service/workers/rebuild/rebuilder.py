"""One rebuild, from the fence to the opening. If its process dies, the next rebuild begins anew.

1. Only one runs: a lock in Postgres, which a frozen process loses.
2. Fence: Redis's epoch is taken away, so that nothing is promised on it any more.
3. Of its journal, what continues the ledger is recorded. The rest is a fork: it is saved in the
   transaction that raises the epoch.
4. Redis is emptied and filled with what the ledger has, for this rebuild's token alone.
5. The fork's commands are applied again, and recorded; then the events that NATS still has.
6. Redis is opened to all.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from msgspec import structs
from prometheus_client import Counter, Histogram
from psycopg import AsyncConnection

from atp_service.ledger import Position, stream_checkpoints
from atp_service.ledger.position import read_position
from atp_service.ledger.rebuilds import keep_alive, only_rebuild, opened, raise_epoch, session
from atp_service.metrics import REGISTRY, HighestGauge
from atp_service.progress import Show, unseen
from atp_service.store import Fenced, Partition, Store, Unavailable
from atp_service.store.raw_partition import Fill, RebuildGuard, Site
from atp_service.workers.rebuild.diagnosis import why
from atp_service.workers.rebuild.fork import capture
from atp_service.workers.rebuild.fork.reapply import Reapplication
from atp_service.workers.rebuild.report import Report
from atp_service.workers.rebuild.restore import Restore, check
from atp_service.workers.rebuild.stream.recovery import recover
from atp_service.workers.rebuild.stream.replay import NatsUnavailable
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()

BY_HAND: Final = "asked for by hand"

_rebuilds = Counter("atp_rebuilds", "Rebuilds that opened again", registry=REGISTRY)
_seconds = Histogram(
    "atp_rebuild_seconds",
    "From the fence to the opening",
    buckets=(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
    registry=REGISTRY,
)
_conflicts = Counter(
    "atp_rebuild_conflicts",
    "Commands a lost Redis had acknowledged that no longer fit",
    registry=REGISTRY,
)
_rebuilding = HighestGauge("atp_rebuilding", "1 while Redis is being rebuilt here")


async def rebuild(tools: Tools, *, by_hand: bool = False, show: Show = unseen) -> Report | None:
    """Rebuild Redis from the ledger now; None if there is no need, or another rebuild is at work.

    By hand a sound Redis is rebuilt too, but only if the ledger can be read. Raises NotToBeRebuilt,
    or Unreadable; Unavailable of store or ledger, or Superseded: then it is to be begun anew.
    """
    async with only_rebuild(tools.database_url, tools.partition) as right:
        if right is None:
            return None
        working = asyncio.create_task(_Run(tools, by_hand, show).run())
        keeping = asyncio.create_task(keep_alive(right))
        _rebuilding.set(tools.partition, 1)
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                keeping.result()
            return await working
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            _rebuilding.set(tools.partition, 0)


class _Run:
    def __init__(self, tools: Tools, by_hand: bool, show: Show) -> None:
        self._tools = tools
        self._show = show
        self._by_hand = by_hand
        self._began = time.monotonic()
        self._site = Site(tools.redis_url, name="rebuild", partition=tools.partition)

    async def run(self) -> Report | None:
        tools = self._tools
        try:
            async with session(tools.database_url) as connection:
                # Another process may have rebuilt it just now.
                reason = await why(self._site, lambda: read_position(connection, tools.partition))
                if reason is None and self._by_hand:
                    reason = BY_HAND
                    position = await read_position(connection, tools.partition)
                    if position is not None:
                        await check(tools, self._site.keys, position)
                return None if reason is None else await self._run(connection, reason)
        finally:
            await self._site.close()

    async def _run(self, connection: AsyncConnection[Any], reason: str) -> Report:
        tools, site = self._tools, self._site
        log.info("rebuild_begun", reason=reason)
        await self._fence()
        self._show("fenced", 1.0, f"nothing is promised until it is open again ({reason})")
        position = await self._secure(connection)
        async with session(tools.database_url) as looking:
            fork = capture.Fork(site, looking, tools.partition)
            begun = await raise_epoch(connection, tools.partition, position, reason, fork)
        report = Report(reason=reason, epoch=begun.epoch, from_seq=begun.from_seq)
        log.info("epoch_raised", epoch=begun.epoch, from_seq=begun.from_seq)
        self._show("secured", 1.0, f"epoch {begun.epoch} begins after entry {begun.from_seq:,}")
        fill = Fill(site, begun.epoch, secrets.token_hex(8))
        try:
            await fill.begin()
            now_ms = await site.now_ms()
            await Restore(fill, tools, site.keys, position, now_ms, report).run()
        finally:
            await fill.stop()
        detail = f"{report.levels:,} levels, {report.reservations:,} reservations"
        self._show("filled", 1.0, f"{detail}, {report.seen:,} remembered events and keys")
        async with self._filled_store(begun.epoch, fill) as store:
            partition = store.partitions[tools.partition]
            await Reapplication(partition, tools, connection, report).run()
            await self._secure(connection)
            detail = f"{report.fork_commands:,} commands that a fork had acknowledged"
            self._show("applied again", 1.0, f"{detail}, {report.fork_conflicts:,} no longer fit")
            await self._replay(store, connection, report)
        report.seconds = round(time.monotonic() - self._began, 3)
        await fill.open()
        await opened(connection, tools.partition, begun.epoch, structs.asdict(report))
        _rebuilds.inc()
        _seconds.observe(report.seconds)
        _conflicts.inc(report.fork_conflicts)
        log.info("redis_rebuilt", **structs.asdict(report))
        self._show("open", 1.0, f"after {report.seconds:,.1f} s")
        return report

    async def _fence(self) -> None:
        """Take the epoch away, whichever it is by then."""
        while (header := await self._site.header()).epoch is not None:
            if await self._site.fence(header.epoch):
                log.info("redis_fenced_off", epoch=header.epoch, seq=header.seq)

    async def _secure(self, connection: AsyncConnection[Any]) -> Position:
        """The ledger's position, once it has all of the journal that continues it."""
        tools = self._tools
        return await capture.secure(self._site, connection, tools.database_url, tools.partition)

    @asynccontextmanager
    async def _filled_store(self, epoch: int, fill: Fill) -> AsyncIterator[Store]:
        """A store with the partition as this rebuild has filled it, before others may use it."""
        tools = self._tools
        own = Partition(
            tools.redis_url,
            tools.partition,
            name="rebuild",
            window_ms=tools.window_ms,
            guard=RebuildGuard(tools.partition, self._site.keys, epoch, fill),
        )
        store = Store(
            tools.redis_url,
            partitions=tools.partitions,
            name="rebuild",
            window_ms=tools.window_ms,
            own=own,
        )
        for partition in store.partitions:
            partition.guard.set_ledger(tools.ledger)
        try:
            yield store
        finally:
            await store.close()

    async def _replay(self, store: Store, connection: AsyncConnection[Any], report: Report) -> None:
        """Put off if NATS or another partition is away: Redis is opened all the same."""
        tools, client = self._tools, self._tools.connected_nats
        if client is None:
            log.warning("replay_put_off", reason="NATS is away")
            return
        pending = await stream_checkpoints.pending_replay(connection, tools.partition)
        if pending is None:
            return  # another rebuild has taken over, and done it
        facts = tools.facts_on(store)
        try:
            done, checkpoint = await recover(tools, client, facts, connection, self._site, pending)
        except (NatsUnavailable, Fenced, Unavailable) as away:
            if not isinstance(away, NatsUnavailable) and tools.partitions == 1:
                raise
            log.warning("replay_put_off", reason=str(away))
            return
        report.events_replayed, report.events_news = done.events, done.news
        # First the ledger must have what came of it: Redis might be lost once more.
        await self._secure(connection)
        if checkpoint is not None:
            await stream_checkpoints.save(connection, tools.partition, checkpoint)
        detail = f"{report.events_replayed:,} events, {report.events_news:,} of them new"
        self._show("replayed", 1.0, detail)
