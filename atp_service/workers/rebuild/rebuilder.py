"""One rebuild, from the fence to the opening. Whatever dies in between, the next begins anew.

1. Only one: a lock in Postgres, lost by whoever is frozen.
2. Fence: Redis's epoch is taken away, so that nothing is promised on it any more.
3. What its journal has beyond the ledger: what continues the ledger is recorded, the rest is a
   fork's own, and saved in the transaction that raises the epoch.
4. Redis is emptied and filled with what the ledger has, for this rebuild's token alone.
5. The fork's own commands are applied again, and recorded; then the events that NATS still has.
6. Everybody is let in.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from msgspec import Struct, structs
from nats.aio.client import Client
from prometheus_client import Counter, Gauge, Histogram
from psycopg import AsyncConnection

from atp_service.facts import Facts
from atp_service.ledger import Ledger, Position
from atp_service.ledger.position import read_position
from atp_service.ledger.rebuilds import (
    Guard,
    Rebuild,
    only_rebuild,
    opened,
    raise_epoch,
    session,
)
from atp_service.ledger.stream_checkpoints import to_replay_for
from atp_service.metrics import REGISTRY
from atp_service.progress import Show, unseen
from atp_service.store import Fenced, Partition, Store, Unavailable
from atp_service.store.raw_partition import Fill, RebuildGuard, Site
from atp_service.workers.rebuild.diagnosis import why
from atp_service.workers.rebuild.dry_run import check
from atp_service.workers.rebuild.fork import capture
from atp_service.workers.rebuild.fork.reapply import Again
from atp_service.workers.rebuild.restore import Filled, Filling
from atp_service.workers.rebuild.stream.recovery import Events
from atp_service.workers.rebuild.stream.replay import Away

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
_rebuilding = Gauge(
    "atp_rebuilding",
    "1 while Redis is being rebuilt here",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)


class Tools(Struct, frozen=True):
    """What rebuilds of a partition, of so many, work with.

    `nats` is None if no events arrive by NATS; else `consumer` takes them in from `stream`.
    """

    redis_url: str
    database_url: str
    ledger: Ledger
    facts_on: Callable[[Store], Facts]
    nats: Client | None
    stream: str
    consumer: str
    window_ms: int
    partition: int
    partitions: int


class Report(Struct, kw_only=True):
    """What was done."""

    reason: str
    epoch: int
    from_seq: int
    levels: int = 0
    reservations: int = 0
    orders: int = 0
    seen: int = 0
    fork_commands: int = 0
    fork_conflicts: int = 0
    events_replayed: int | None = None
    events_news: int = 0
    seconds: float = 0.0


async def rebuild(tools: Tools, *, by_hand: bool = False, show: Show = unseen) -> Report | None:
    """Rebuild Redis from the ledger now; None where there is no need, or somebody else is at it.

    By hand it is done whether or not there is need; where there is none, only if the ledger can be
    read. Raises NotToBeRebuilt, or Unreadable; Unavailable of store or ledger, or Superseded: then
    it is to be begun anew.
    """
    async with only_rebuild(tools.database_url, tools.partition) as guard:
        if guard is None:
            return None
        _rebuilding.set(1)
        try:
            return await _while_kept(guard, _Run(tools, by_hand, show).run())
        finally:
            _rebuilding.set(0)


async def _while_kept(guard: Guard, work: Coroutine[Any, Any, Report | None]) -> Report | None:
    """The work's result, as long as the right to do it is kept."""
    working, keeping = asyncio.create_task(work), asyncio.create_task(guard.keep())
    try:
        await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            keeping.result()
        return await working
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)


class _Run:
    def __init__(self, tools: Tools, by_hand: bool, show: Show) -> None:
        self._tools = tools
        self._show = show
        self._by_hand = by_hand
        self._began = time.monotonic()

    async def run(self) -> Report | None:
        tools = self._tools
        site = Site(tools.redis_url, name="rebuild", partition=tools.partition)
        try:
            async with session(tools.database_url) as connection:
                # Again, now that nobody else is at it: somebody may just have done it.
                reason = await why(site, lambda: read_position(connection, tools.partition))
                if reason is None and self._by_hand:
                    reason = BY_HAND
                    await self._check(site, connection)
                if reason is None:
                    return None
                return await self._run(site, connection, reason)
        finally:
            await site.close()

    async def _run(self, site: Site, connection: AsyncConnection[Any], reason: str) -> Report:
        tools, partition = self._tools, self._tools.partition
        log.info("rebuild_begun", reason=reason)
        await self._fence(site)
        self._show("fenced", 1.0, f"nothing is promised until it is open again ({reason})")
        position = await capture.secure(site, connection, tools.database_url, partition)
        async with session(tools.database_url) as looking:
            fork = capture.Own(site, looking, partition)
            begun = await raise_epoch(connection, partition, position, reason, fork)
        report = Report(reason=reason, epoch=begun.epoch, from_seq=begun.from_seq)
        log.info("epoch_raised", epoch=begun.epoch, from_seq=begun.from_seq)
        self._show("secured", 1.0, f"epoch {begun.epoch} begins after entry {begun.from_seq:,}")
        fill = Fill(site, begun.epoch, secrets.token_hex(8))
        try:
            _note(report, await self._fill(site, fill, position))
        finally:
            await fill.stop()
        detail = f"{report.levels:,} levels, {report.reservations:,} reservations"
        self._show("filled", 1.0, f"{detail}, {report.seen:,} remembered events and keys")
        async with self._own_store(site, begun, fill) as store:
            await self._apply_again(store.partitions[partition], connection, report)
            await capture.secure(site, connection, tools.database_url, partition)
            detail = f"{report.fork_commands:,} commands that a fork had acknowledged"
            self._show("applied again", 1.0, f"{detail}, {report.fork_conflicts:,} no longer fit")
            await self._replay(site, store, connection, report)
        report.seconds = round(time.monotonic() - self._began, 3)
        await fill.open()
        await opened(connection, partition, begun.epoch, structs.asdict(report))
        _rebuilds.inc()
        _seconds.observe(report.seconds)
        _conflicts.inc(report.fork_conflicts)
        log.info("redis_rebuilt", **structs.asdict(report))
        self._show("open", 1.0, f"after {report.seconds:,.1f} s")
        return report

    async def _check(self, site: Site, connection: AsyncConnection[Any]) -> None:
        """A sound Redis is not taken away for a ledger that can't fill another."""
        tools = self._tools
        position = await read_position(connection, tools.partition)
        if position is not None:
            await check(
                tools.database_url,
                site.keys,
                position,
                partition=tools.partition,
                window_ms=tools.window_ms,
            )

    async def _fence(self, site: Site) -> None:
        """Whatever epoch it is in by the time."""
        while (header := await site.header()).epoch is not None:
            if await site.fence(header.epoch):
                log.info("redis_fenced_off", epoch=header.epoch, seq=header.seq)

    async def _fill(self, site: Site, fill: Fill, position: Position) -> Filled:
        await fill.begin()
        filling = Filling(
            fill,
            self._tools.database_url,
            site.keys,
            position,
            partition=self._tools.partition,
            window_ms=self._tools.window_ms,
            now_ms=await site.now_ms(),
        )
        await filling.run()
        return filling.filled

    @asynccontextmanager
    async def _own_store(self, site: Site, begun: Rebuild, fill: Fill) -> AsyncIterator[Store]:
        """A store with the partition as this rebuild has filled it, before others may use it."""
        tools = self._tools
        own = Partition(
            tools.redis_url,
            tools.partition,
            name="rebuild",
            window_ms=tools.window_ms,
            guard=RebuildGuard(tools.partition, site.keys, begun.epoch, fill),
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

    async def _apply_again(
        self, own: Partition, connection: AsyncConnection[Any], report: Report
    ) -> None:
        tools = self._tools
        again = Again(
            own,
            tools.ledger,
            connection,
            window_ms=tools.window_ms,
        )
        await again.run()
        report.fork_commands = again.applied.commands
        report.fork_conflicts = again.applied.conflicts

    async def _replay(
        self, site: Site, store: Store, connection: AsyncConnection[Any], report: Report
    ) -> None:
        """Put off if NATS or another partition is away: Redis is opened all the same."""
        tools = self._tools
        if tools.nats is None or not tools.nats.is_connected:
            log.warning("replay_put_off", reason="NATS is away")
            return
        due = await to_replay_for(connection, tools.partition)
        if due is None:
            return  # somebody has taken over, and done it
        events = Events(tools.nats, tools.stream, tools.consumer, tools.partition)
        try:
            reached = await events.replay(tools.facts_on(store), connection, site, due)
        except (Away, Fenced, Unavailable) as away:
            if not isinstance(away, Away) and tools.partitions == 1:
                raise
            log.warning("replay_put_off", reason=str(away))
            return
        report.events_replayed, report.events_news = reached.done.events, reached.done.news
        # Not before the ledger has what came of it: Redis might be lost once more.
        await capture.secure(site, connection, tools.database_url, tools.partition)
        await events.note(connection, reached)
        detail = f"{report.events_replayed:,} events, {report.events_news:,} of them new"
        self._show("replayed", 1.0, detail)


def _note(report: Report, filled: Filled) -> None:
    report.levels, report.reservations = filled.levels, filled.reservations
    report.orders, report.seen = filled.orders, filled.marks
