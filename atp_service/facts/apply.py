"""Events are applied: each once, however often, late or damaged it comes."""

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

_events = Counter("atp_events", "Stock events, by their result", ["status"], registry=REGISTRY)


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

        Raises the store's Unavailable or Fenced. Some events may be applied by then; a retry with
        all of them is safe.
        """
        now_ms = self._clock()
        read = await self._reader.read(arrivals, now_ms)
        works = [work for each in read for work in each]
        sent = _lines_by_http(works)
        for snapshot, lines in sent.items():
            ids = [line.id for line, _ in lines]
            await self._store.open_lines_of(snapshot[0]).add(snapshot, ids)
        changes = Changes(self._store, self._ledger, self._catalog, now_ms)
        ends = SnapshotEnds(changes, self._store, self._ledger, self._catalog)
        for kind, group in groupby(await self._new(works, now_ms), _kind):
            if kind == "end":
                for end in group:
                    await ends.apply(end, works)
            else:
                # A count adds up what came before it: that has to be in the journal.
                await changes.apply(list(group))
        for snapshot, lines in sent.items():
            done = [line.id for line, work in lines if not work.is_waiting]
            await self._store.open_lines_of(snapshot[0]).remove(snapshot, done)
        return _results(read)

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
        return _results([[work]])[0]

    async def _new(self, works: Iterable[Work], now_ms: int) -> list[Work]:
        """The works that are ready. Others end here: those whose events the ledger alone may know,
        older than the dedupe window or of unknown age, if it has them or is away."""
        oldest_ms = now_ms - self._window_ms
        ready: list[Work] = []
        old: list[tuple[Work, tuple[str, str]]] = []
        for work in works:
            if isinstance(state := work.state, Ready):
                ready.append(work)
                command = state.command
                if state.undated or command.occurred_at_ms < oldest_ms:
                    old.append((work, (command.source, command.event_id)))
        if not old:
            return ready
        try:
            recorded = await self._ledger.seen_events([event for _, event in old])
        except Unavailable:
            for work, _ in old:
                work.end("waiting", "ledger-away")
        else:
            for work, event in old:
                if event in recorded:
                    work.end("duplicate")
        return [work for work in ready if isinstance(work.state, Ready)]


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
    return _KINDS.get(type(work.command), "plain")


def _results(works: Sequence[Sequence[Work]]) -> list[list[EventResult]]:
    """The results, which are counted too."""
    results = [[work.result for work in each] for each in works]
    for status, count in Tally(result.status for each in results for result in each).items():
        _events.labels(status).inc(count)
    return results
