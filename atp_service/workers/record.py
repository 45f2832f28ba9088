"""Journal to ledger: each entry exactly once, in order; then the journal lets go of it.

The ledger's position alone says what is recorded. The recorder reads on from it, so nothing is
lost or written twice: not by a crash between commit and trim, nor by a second recorder, nor while
Postgres is away. The journal keeps an entry until it is recorded.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Histogram

from atp_service import ledger, postgres, store
from atp_service.inventory.journal import Entry
from atp_service.ledger import Appender, Batch, Forked, Position, Refused, Stale
from atp_service.metrics import REGISTRY, HighestGauge
from atp_service.pause import pause
from atp_service.store import Partition

log = structlog.get_logger()

AT_ONCE = 4_000  # entries per transaction when there is a backlog
WAIT_MS = 200  # for the next entry; also how long a stop takes at most
RENEW_SECONDS = 2.0  # well within the silence that costs the lease
LEASE_RETRY_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 2.0

_recorded = Counter("atp_recorded_entries", "Journal entries recorded", registry=REGISTRY)
_lag = Histogram(
    "atp_record_lag_seconds",
    "Age of a transaction's oldest entry when it was in the ledger",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0),
    registry=REGISTRY,
)
_forked = HighestGauge(
    "atp_journal_forked", "1 while the journal does not continue the ledger and nothing is recorded"
)


async def run(partition: Partition, database_url: str, *, stop: asyncio.Event) -> None:
    """Record the partition's journal until stopped. Waits while another recorder has the lease."""
    pauses = _Pauses()
    while not stop.is_set():
        try:
            async with ledger.lease(database_url, partition.number) as appender:
                if appender is not None:
                    await _Recording(partition, appender, pauses).run(stop)
            pauses.reset()
        except (Forked, Refused) as fork:
            _forked.set(partition.number, 1)
            pauses.lengthen("journal_forked", fork)
        except Stale as stale:
            log.warning("recorder_was_stale", reason=str(stale))
        except (postgres.Unavailable, store.Unavailable, store.Fenced) as away:
            pauses.lengthen("recording_interrupted", away)
        await pause(stop, pauses.seconds)


class _Pauses:
    """How long to wait before the next try: longer while it goes on, logged once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds = LEASE_RETRY_SECONDS
        self._last = ""

    def lengthen(self, event: str, reason: Exception) -> None:
        self.seconds = min(self.seconds * 1.5, LONGEST_PAUSE_SECONDS)
        if self._last != event:
            log.error(event, reason=str(reason))
        self._last = event


class _Recording:
    """Recording while the lease lasts. The next batch is prepared while one is written."""

    def __init__(self, partition: Partition, appender: Appender, pauses: _Pauses) -> None:
        self._partition = partition
        self._journal = partition.journal
        self._appender = appender
        self._pauses = pauses
        self._renewed_at = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        position = self._appender.position
        writing: asyncio.Task[None] | None = None
        try:
            await self._compare(position)
            # A crash may have come between commit and trim.
            await self._journal.trim(position.seq, position.digest)
            log.info("recording_started", partition=self._appender.partition, seq=position.seq)
            while not stop.is_set():
                entries = await self._journal.entries(position.seq, AT_ONCE, WAIT_MS)
                batch = await self._prepare(position, entries)
                if writing is not None:
                    await writing
                position = batch.position
                writing = asyncio.create_task(self._write(batch))
                if len(entries) < AT_ONCE:
                    # No backlog: what comes while this is written makes up the next batch.
                    await writing
        except Forked:
            if writing is not None:
                await _finish(writing)
            await self._fence()
            raise
        finally:
            if writing is not None:
                await _finish(writing)

    async def _compare(self, position: Position) -> None:
        """The journal keeps the last recorded entry, to be compared."""
        if position.seq == 0:
            return
        entries = await self._journal.entries(position.seq - 1, 1, WAIT_MS)
        if not entries:
            raise Forked(f"the journal ends before entry {position.seq}")
        if entries[0].seq == position.seq and entries[0].digest != position.digest:
            raise Forked(f"entry {position.seq} of the journal is not the ledger's")

    async def _fence(self) -> None:
        """Fence Redis off: it has left the ledger, and must not promise any more.

        Raises Stale if it is the recorder that was left behind.
        """
        position = self._appender.position
        if await self._appender.position_now() != position:
            raise Stale(f"the ledger is no longer at entry {position.seq}")
        if await self._partition.fence(position.epoch):
            log.error("redis_fenced_off", epoch=position.epoch, seq=position.seq)

    async def _prepare(self, after: Position, entries: Sequence[Entry]) -> Batch:
        batch = Batch(self._appender.partition, after)
        for place, entry in enumerate(entries, 1):
            batch.add(entry)
            if place % 50 == 0:
                await asyncio.sleep(0)  # the write under way goes on meanwhile
        return batch

    async def _write(self, batch: Batch) -> None:
        if batch.size:
            await self._appender.append(batch)
            self._renewed_at = time.monotonic()
            _recorded.inc(batch.size)
            _lag.observe(max(0.0, time.time() - batch.first_at_ms / 1000))
            _forked.set(batch.partition, 0)
            self._pauses.reset()
            await self._journal.trim(batch.position.seq, batch.position.digest)
        elif time.monotonic() - self._renewed_at > RENEW_SECONDS:
            await self._appender.renew()
            self._renewed_at = time.monotonic()


async def _finish(writing: asyncio.Task[None]) -> None:
    """Let a transaction under way finish; its fault, if any, shows elsewhere."""
    await asyncio.wait([writing])
    if not writing.cancelled():
        writing.exception()
