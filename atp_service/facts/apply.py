"""Events in, effects out: each once, however often, late or damaged it comes."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, Literal

import structlog
from prometheus_client import Counter

from atp_service.catalog import Catalog
from atp_service.facts.arrival import Arrival
from atp_service.facts.canonical_events import AHEAD_MS, Unfit, read_event, tidy
from atp_service.facts.canonical_events import Snapshot as SnapshotLine
from atp_service.facts.change import Changes
from atp_service.facts.parking import park
from atp_service.facts.reading import Reader
from atp_service.facts.snapshot_end import SnapshotEnds, snapshot_of
from atp_service.facts.work import EventResult, Ready, Work
from atp_service.inventory.commands import Count, Fact, Snapshot, SnapshotClosed
from atp_service.ledger import Ledger
from atp_service.metrics import REGISTRY
from atp_service.postgres import Unavailable
from atp_service.store import Fenced, Store
from atp_service.store import Unavailable as StoreUnavailable

log = structlog.get_logger()

_events = Counter(
    "atp_events", "Stock events, by what became of them", ["status"], registry=REGISTRY
)


class Facts:
    """Applies events through the door, for any number of callers."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        catalog: Catalog,
        *,
        auto_create: bool,
        dedupe_hours: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._catalog = catalog
        self._reader = Reader(catalog, auto_create=auto_create)
        # An event may have entered the window that much before its own time.
        self._window_ms = dedupe_hours * 3_600_000 - 2 * AHEAD_MS
        self._clock = clock

    async def apply(self, arrivals: Sequence[Arrival]) -> list[list[EventResult]]:
        """Of each arrival the results of its events, in order.

        Raises the store's Unavailable or Fenced. Some events may be applied by then; all of them
        may be sent once more.
        """
        now_ms = self._clock()
        read = await self._reader.read(arrivals, now_ms)
        works = [work for each in read for work in each]
        sent = _lines_by_http(works)
        for snapshot, lines in sent.items():
            ids = [line.id for line, _ in lines]
            await self._store.open_lines_of(snapshot[0]).add(snapshot, ids)
        await self._recognise(works, now_ms)
        changes = Changes(self._store, self._ledger, self._catalog, now_ms)
        ends = SnapshotEnds(changes, self._store, self._ledger, self._catalog)
        ready = [work for work in works if isinstance(work.state, Ready)]
        for kind, group in groupby(ready, _kind):
            if kind == "end":
                for end in group:
                    await ends.apply(end, works)
            else:
                # A count adds up what came before it: that has to be in the journal.
                await changes.apply(list(group))
        for snapshot, lines in sent.items():
            done = [line.id for line, work in lines if not work.is_waiting]
            await self._store.open_lines_of(snapshot[0]).remove(snapshot, done)
        _count(works)
        return [_results(each) for each in read]

    async def apply_each(self, arrivals: Sequence[Arrival]) -> list[list[EventResult]]:
        """As `apply`; but an arrival that fails is parked, and does not hold up the others."""
        try:
            return await self.apply(arrivals)
        except (StoreUnavailable, Fenced):
            raise
        except Exception as fault:
            if len(arrivals) == 1:
                log.exception("event_faulted", arrival_id=arrivals[0].arrival_id)
                return [await self._park(arrivals[0], fault)]
            return [(await self.apply_each([arrival]))[0] for arrival in arrivals]

    async def _park(self, arrival: Arrival, fault: Exception) -> list[EventResult]:
        now_ms = self._clock()
        event = read_event(arrival.payload)
        unfit = Unfit(
            reason="faulted",
            subject=type(fault).__name__,
            detail=tidy(str(fault), 300),
            source=event.source,
            event_id=event.event_id if isinstance(event, Unfit) else event.id,
            occurred_at_ms=event.occurred_at_ms,
            traceparent=event.traceparent,
        )
        work = Work(arrival, unfit, park(unfit, arrival, self._catalog, now_ms))
        await Changes(self._store, self._ledger, self._catalog, now_ms).apply([work])
        _count([work])
        return _results([work])

    async def _recognise(self, works: Iterable[Work], now_ms: int) -> None:
        """End the works whose events only the ledger may know: those older than the dedupe window,
        and those of unknown age."""
        oldest_ms = now_ms - self._window_ms
        old = [
            (work, (state.command.source, state.command.event_id))
            for work in works
            if isinstance(state := work.state, Ready)
            and (state.undated or state.command.occurred_at_ms < oldest_ms)
        ]
        if not old:
            return
        try:
            recorded = await self._ledger.seen_events([event for _, event in old])
        except Unavailable:
            for work, _ in old:
                work.end("waiting", "ledger-away")
            return
        for work, event in old:
            if event in recorded:
                work.end("duplicate")


def _lines_by_http(works: Iterable[Work]) -> dict[tuple[str, int], list[tuple[SnapshotLine, Work]]]:
    """Lines of snapshots in a call by HTTP, by their snapshot.

    Lines from a stream stay there until they are applied.
    """
    sent: dict[tuple[str, int], list[tuple[SnapshotLine, Work]]] = {}
    for work in works:
        line = work.event
        if work.arrival.subject is None and isinstance(line, SnapshotLine) and not line.data.final:
            sent.setdefault(snapshot_of(line), []).append((line, work))
    return sent


Kind = Literal["plain", "observed", "end"]
_KINDS: Final[dict[type[Fact | None], Kind]] = {
    Count: "observed",
    Snapshot: "observed",
    SnapshotClosed: "end",
}


def _kind(work: Work) -> Kind:
    """Works of one kind in a row are applied together."""
    command = work.state.command if isinstance(work.state, Ready) else None
    return _KINDS.get(type(command), "plain")


def _results(works: Iterable[Work]) -> list[EventResult]:
    return [work.state for work in works if isinstance(work.state, EventResult)]


def _count(works: Iterable[Work]) -> None:
    for status, count in Tally(result.status for result in _results(works)).items():
        _events.labels(status).inc(count)
