"""Events in, effects out: each once, whatever is repeated, late or can't be understood."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, Literal

import structlog
from msgspec import Struct, structs
from prometheus_client import Counter

from atp_service.catalog import Catalog
from atp_service.facts.canonical_events import (
    AHEAD_MS,
    AnyEvent,
    Unfit,
    names_sent,
    read_event,
    tidy,
)
from atp_service.facts.count_merge import Mergings, Observed
from atp_service.facts.in_flight import UnderWay
from atp_service.facts.parking import park
from atp_service.facts.snapshot_end import lines_left_out
from atp_service.facts.translation import SnapshotEnd, named_locations, names_of, translate
from atp_service.inventory.commands import Fact, Park, Snapshot, SnapshotClosed
from atp_service.inventory.outcomes import (
    Absorbed,
    Applied,
    Duplicate,
    Faulted,
    Moved,
    Outcome,
    Parked,
)
from atp_service.ledger import Ledger
from atp_service.metrics import REGISTRY
from atp_service.postgres import Unavailable
from atp_service.store import Store

log = structlog.get_logger()

Status = Literal["applied", "duplicate", "absorbed", "parked", "rejected", "waiting"]

RAW_SUBJECT: Final = "atp.raw."
ROUNDS: Final = 10  # how often a count or a snapshot's line may find that its level has moved
CLOSING_PAGES: Final = 10  # at once: seconds, so that nobody takes the message for lost
RECORDING_SECONDS: Final = 2.5  # how long the end of a snapshot waits for the ledger

_events = Counter(
    "atp_events", "Stock events, by what became of them", ["status"], registry=REGISTRY
)


class Arrival(Struct, frozen=True):
    """A message as it came. `subject` is None by HTTP; `arrival_id` survives redelivery.

    `traceparent` came beside the message; one inside it is more telling.
    """

    payload: bytes
    subject: str | None
    arrival_id: str
    traceparent: str | None = None


class EventResult(Struct, frozen=True, omit_defaults=True):
    """What became of an event. `waiting`: it needs the ledger, which is away or not there yet; send
    it again.

    `source` and `id` are as they were sent, None where they are no texts; `known_as` is the source
    and the id that its entry has, if it left one.
    """

    source: str | None
    id: str | None
    status: Status
    reason: str | None = None
    detail: str | None = None
    seq: int = 0
    known_as: tuple[str, str] = ("", "")


class _Work:
    """An arrival on its way: it gets a command and then a result, or a result at once.

    `line` is what the end of a snapshot has to say before; `timeless` is what may be of any age.
    """

    __slots__ = ("arrival", "command", "line", "result", "timeless")

    command: Fact

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.line: Snapshot | None = None
        self.timeless = False
        self.result: EventResult | None = None

    def takes(self, told: Fact | SnapshotEnd) -> None:
        if isinstance(told, SnapshotEnd):
            self.command, self.line = told.closed, told.line
        else:
            self.command = told

    def part(self, line: Snapshot) -> "_Work":
        """Work of its own for a line that this arrival says beside its command."""
        work = _Work(self.arrival)
        work.command = line
        return work

    def ends(self, status: Status, reason: str | None = None, seq: int = 0) -> None:
        command = self.command
        known_as = command.source, command.event_id
        sent: tuple[str | None, str | None] = known_as
        detail = None
        if isinstance(command, Park):
            sent = names_sent(self.arrival.payload)
            if reason is None:
                reason, detail = command.reason, command.detail
        self.result = EventResult(*sent, status, reason, detail, seq, known_as)


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
        self._auto_create = auto_create
        # An event may have entered the window that much before the time it tells.
        self._window_ms = dedupe_hours * 3_600_000 - 2 * AHEAD_MS
        self._clock = clock
        self._spoken_of: set[tuple[str, tuple[str, ...]]] = set()
        self._under_way = UnderWay()

    async def apply(self, arrivals: Sequence[Arrival]) -> list[EventResult]:
        """What became of each arrival, in order.

        Raises the store's Unavailable or Fenced. Some may have been applied then; all of them may
        be given again.
        """
        now_ms = self._clock()
        merging = Mergings(self._store, self._ledger)
        works = [_Work(arrival) for arrival in arrivals]
        with self._under_way.call() as before:
            try:
                await self._read(works, now_ms)
                todo = [work for work in works if work.result is None]
                await self._recognise(todo, now_ms)
                for kind, group in groupby(todo, _kind):
                    alike = list(group)
                    if kind == "closing":
                        if before:
                            await asyncio.wait(before)
                        await self._close(alike, merging, now_ms)
                    else:
                        # A count adds up what came before it: that has to be in the journal.
                        await self._change(alike, merging, now_ms)
                        self._note(alike)
            except BaseException:
                self._note(works)
                raise
        return _results(works)

    async def keep(self, arrival: Arrival, error: Exception) -> EventResult:
        """Park an arrival that `apply` stumbles over. Raises the store's Unavailable or Fenced."""
        now_ms = self._clock()
        told = read_event(arrival.payload)
        unfit = Unfit(
            reason="faulted",
            subject=type(error).__name__,
            detail=tidy(str(error), 300),
            source=told.source,
            event_id=told.event_id if isinstance(told, Unfit) else told.id,
            occurred_at_ms=told.occurred_at_ms,
            traceparent=told.traceparent,
        )
        work = _Work(arrival)
        self._park(work, unfit, now_ms)
        await self._change([work], Mergings(self._store, self._ledger), now_ms)
        return _results([work])[0]

    # From arrival to command.

    async def _read(self, works: Sequence[_Work], now_ms: int) -> None:
        """A command for each; who isn't known is created, or looked for once more."""
        strangers: list[tuple[_Work, AnyEvent]] = []
        for work in works:
            event = self._event_of(work, now_ms)
            if event is None:
                continue
            told = translate(event, self._catalog)
            if isinstance(told, Unfit) or self._is_first(event):
                strangers.append((work, event))
            else:
                work.takes(told)
        if not strangers:
            return
        try:
            self._catalog.check_loaded()
        except Unavailable:
            # Before master data was read once, everybody would be a stranger.
            for work, event in strangers:
                work.result = EventResult(event.source, event.id, "waiting", "master-data-away")
            return
        asked = await self._meet([event for _, event in strangers])
        for work, event in strangers:
            told = translate(event, self._catalog)
            if isinstance(told, Unfit) and not asked:
                work.result = EventResult(event.source, event.id, "waiting", "master-data-away")
            elif isinstance(told, Unfit):
                self._park(work, told, now_ms)
            else:
                work.takes(told)

    def _event_of(self, work: _Work, now_ms: int) -> AnyEvent | None:
        """The event, if there is one that may be applied; else the work has what follows."""
        subject = work.arrival.subject
        if subject is not None and subject.startswith(RAW_SUBJECT):
            adapter = tidy(subject.split(".")[2])
            detail = f"no adapter {adapter}"
            self._park(work, Unfit(reason="no-adapter", subject=adapter, detail=detail), now_ms)
            return None
        event = read_event(work.arrival.payload)
        if isinstance(event, Unfit):
            if event.reason != "malformed":
                self._park(work, event, now_ms)
            elif subject is None:
                sent = names_sent(work.arrival.payload)
                work.result = EventResult(*sent, "rejected", event.reason, event.detail)
            else:
                self._park(work, structs.replace(event, subject=tidy(subject, 200)), now_ms)
            return None
        if event.traceparent is None and work.arrival.traceparent is not None:
            event = structs.replace(event, traceparent=work.arrival.traceparent)
        if event.occurred_at_ms > now_ms + AHEAD_MS:
            ahead = Unfit(
                reason="future-time",
                subject=event.source,
                detail=f"{event.time.isoformat()} is more than 5 minutes ahead",
                source=event.source,
                event_id=event.id,
                traceparent=event.traceparent,
            )
            self._park(work, ahead, now_ms)
            return None
        return event

    def _is_first(self, event: AnyEvent) -> bool:
        """Whether the feed speaks of a location for the first time, where that is noted."""
        return self._auto_create and (event.source, named_locations(event)) not in self._spoken_of

    async def _meet(self, strangers: Sequence[AnyEvent]) -> bool:
        """Whether master data could be asked for them, or they are created."""
        names = [names_of(event, self._catalog) for event in strangers]
        feeds = {name.feed for name in names}
        skus = {name.sku for name in names if name.sku is not None}
        locations = {place for name in names for place in name.locations}
        if not self._auto_create:
            return await self._catalog.look_again(skus=skus, locations=locations, feeds=feeds)
        # A transfer speaks for the location whose on_hand changes, a heartbeat for none.
        heard = {(name.feed, name.locations[0] if name.locations else "") for name in names}
        await self._catalog.ensure(skus=skus, locations=locations, feeds=heard)
        self._spoken_of.update((event.source, named_locations(event)) for event in strangers)
        return True

    def _park(self, work: _Work, unfit: Unfit, now_ms: int) -> None:
        told_at_ms = unfit.occurred_at_ms
        if told_at_ms is not None and told_at_ms > now_ms + AHEAD_MS:
            told_at_ms = None
        # What has no id of its own is known by its arrival, which doesn't come again for long.
        work.timeless = told_at_ms is None and unfit.event_id != ""
        unfit = structs.replace(
            unfit,
            occurred_at_ms=told_at_ms,
            traceparent=unfit.traceparent or work.arrival.traceparent,
        )
        feed = self._catalog.feeds.get(unfit.source)
        work.command = park(
            unfit,
            work.arrival.payload,
            arrival_id=work.arrival.arrival_id,
            now_ms=now_ms,
            feed_owner=feed.owner if feed is not None else "integration",
        )

    async def _recognise(self, works: Sequence[_Work], now_ms: int) -> None:
        """What is older than the dedupe window may be known to the ledger alone; so may be what
        can't be applied any more, and what nobody can tell the age of."""
        oldest_ms = now_ms - self._window_ms
        old = [work for work in works if work.timeless or work.command.occurred_at_ms < oldest_ms]
        if not old:
            return
        try:
            recorded = await self._ledger.seen_events(
                [(work.command.source, work.command.event_id) for work in old]
            )
        except Unavailable:
            for work in old:
                work.ends("waiting", "ledger-away")
            return
        for work in old:
            if (work.command.source, work.command.event_id) in recorded:
                work.ends("duplicate")

    def _note(self, works: Iterable[_Work]) -> None:
        """Lines of snapshots that could not be taken are remembered until they come again."""
        for work in works:
            command = getattr(work, "command", None)  # it may not even have got that far
            if isinstance(command, Snapshot):
                taken = work.result is not None and work.result.status != "waiting"
                self._under_way.note(command, taken=taken)

    # From command to result.

    async def _change(self, works: Sequence[_Work], merging: Mergings, now_ms: int) -> None:
        """Through the door, in order; what was observed again as long as its level moves."""
        for _ in range(ROUNDS):
            await self._merge(works, merging)
            todo = [work for work in works if work.result is None]
            if not todo:
                return
            outcomes = await self._store.apply_all([work.command for work in todo])
            for work, outcome in zip(todo, outcomes, strict=True):
                self._settle(work, outcome, now_ms)
        for work in works:
            if work.result is None:
                work.ends("waiting", "moved")

    async def _merge(self, works: Iterable[_Work], merging: Mergings) -> None:
        todo, observed = [], []
        for work in works:
            if work.result is None and isinstance(work.command, Observed):
                todo.append(work)
                observed.append(work.command)
        if not observed:
            return
        for work, merged in zip(todo, await merging.merged(observed), strict=True):
            if isinstance(merged, str):
                work.ends("waiting", merged)
            else:
                work.command = merged

    async def _close(self, works: Sequence[_Work], merging: Mergings, now_ms: int) -> None:
        """Ends of snapshots: what a source left out is told to be 0, then that there is no more.

        In this order a crash in between does no harm: it all comes again, and what was told is
        known by its id, or no longer left out.
        """
        for work in works:
            closed = work.command
            if work.result is not None or not isinstance(closed, SnapshotClosed):
                continue
            try:
                if await self._may_close(work, closed, merging, now_ms):
                    await self._tell_left_out(work, closed, merging, now_ms)
            except Unavailable:
                work.ends("waiting", "ledger-away")
            if work.result is None:
                await self._change([work], merging, now_ms)
                self._under_way.forget(closed)

    async def _may_close(
        self, work: _Work, closed: SnapshotClosed, merging: Mergings, now_ms: int
    ) -> bool:
        """Whether the ledger has all lines that came before. Raises the ledger's Unavailable."""
        if work.line is not None and not await self._tell(work, [work.line], merging, now_ms):
            return False
        for entry in await self._store.last_entries():
            await self._ledger.wait_for(entry, RECORDING_SECONDS)
        put_off = self._under_way.put_off(closed)
        known = await self._ledger.seen_events(
            [(closed.source, event_id) for event_id in (closed.event_id, *put_off)]
        )
        if (closed.source, closed.event_id) in known:
            work.ends("duplicate")
        elif any((closed.source, event_id) not in known for event_id in put_off):
            work.ends("waiting", "lines-waiting")
        return work.result is None

    async def _tell_left_out(
        self, work: _Work, closed: SnapshotClosed, merging: Mergings, now_ms: int
    ) -> None:
        pages = 0
        async for lines in lines_left_out(closed, self._catalog, self._ledger):
            if pages == CLOSING_PAGES:
                work.ends("waiting", "closing")
                return
            if not await self._tell(work, lines, merging, now_ms):
                return
            pages += 1

    async def _tell(
        self, work: _Work, lines: Sequence[Snapshot], merging: Mergings, now_ms: int
    ) -> bool:
        """Lines that the end of a snapshot says; it waits if one of them has to."""
        parts = [work.part(line) for line in lines]
        await self._change(parts, merging, now_ms)
        for part in parts:
            if part.result is not None and part.result.status == "waiting":
                work.ends("waiting", part.result.reason)
        return work.result is None

    def _settle(self, work: _Work, outcome: Outcome, now_ms: int) -> None:
        match outcome:
            case Applied(entry):
                work.ends("applied", seq=entry.seq)
            case Absorbed(entry):
                work.ends("absorbed", seq=entry.seq)
            case Duplicate():
                work.ends("duplicate")
            case Parked(entry):
                work.ends("parked", seq=entry.seq)
            case Moved():
                pass
            case Faulted(message) if isinstance(work.command, Park):
                log.error("parking_faulted", reason=work.command.reason, message=message)
                work.ends("waiting")
            case Faulted(message):
                self._park(work, _stumbled(work.command, message), now_ms)
            case _:
                raise AssertionError(f"no outcome of a fact: {outcome}")


def _kind(work: _Work) -> Literal["plain", "observed", "closing"]:
    """What is worked on together."""
    if isinstance(work.command, Observed):
        return "observed"
    return "closing" if isinstance(work.command, SnapshotClosed) else "plain"


def _results(works: Sequence[_Work]) -> list[EventResult]:
    results = [work.result for work in works if work.result is not None]
    for status, count in Tally(result.status for result in results).items():
        _events.labels(status).inc(count)
    return results


def _stumbled(command: Fact, message: str) -> Unfit:
    kind = type(command).__name__
    return Unfit(
        reason="faulted",
        subject=f"{kind} {getattr(command, 'sku', '')}",
        detail=tidy(message, 300),
        source=command.source,
        event_id=command.event_id,
        occurred_at_ms=command.occurred_at_ms,
        traceparent=command.traceparent,
    )
