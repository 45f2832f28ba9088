"""Events in, effects out: each once, whatever is repeated, late or can't be understood."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, Literal

import structlog
from msgspec import Struct, structs

from atp_service import metrics
from atp_service.catalog import Catalog
from atp_service.catalog import Unavailable as MasterDataUnavailable
from atp_service.facts.counts import merged
from atp_service.facts.events import AnyEvent, Unfit, read_event, tidy
from atp_service.facts.parking import park
from atp_service.facts.translation import names_of, places_told, translate
from atp_service.inventory.commands import Count, Fact, Park
from atp_service.inventory.outcomes import (
    Absorbed,
    Applied,
    Duplicate,
    Faulted,
    Moved,
    Outcome,
    Parked,
)
from atp_service.ledger import Ledger, Unavailable
from atp_service.store import Store

log = structlog.get_logger()

Status = Literal["applied", "duplicate", "absorbed", "parked", "rejected", "waiting"]

RAW_SUBJECT: Final = "atp.raw."
AHEAD_MS: Final = 300_000  # clocks differ; an event of later than this is wrong
ROUNDS: Final = 10  # how often a count may find that its level has moved


class Arrival(Struct, frozen=True):
    """A message as it came. `subject` is None by HTTP; `arrival_id` survives redelivery.

    `traceparent` came beside the message; one inside it is more telling.
    """

    payload: bytes
    subject: str | None
    arrival_id: str
    traceparent: str | None = None


class EventResult(Struct, frozen=True, omit_defaults=True):
    """What became of an event. `waiting`: it needs Postgres, which is away; send it again."""

    source: str
    id: str
    status: Status
    reason: str | None = None
    detail: str | None = None
    seq: int = 0


class _Work:
    """An arrival on its way: it gets a command and then a result, or a result at once."""

    __slots__ = ("arrival", "command", "result")

    command: Fact

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.result: EventResult | None = None

    def ends(self, status: Status, reason: str | None = None, seq: int = 0) -> None:
        command = self.command
        detail = None
        if isinstance(command, Park):
            reason, detail = command.reason, command.detail
        self.result = EventResult(command.source, command.event_id, status, reason, detail, seq)


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

    async def apply(self, arrivals: Sequence[Arrival]) -> list[EventResult]:
        """What became of each arrival, in order.

        Raises the store's Unavailable or Fenced. Some may have been applied then; all of them may
        be given again.
        """
        now_ms = self._clock()
        works = [_Work(arrival) for arrival in arrivals]
        await self._read(works, now_ms)
        todo = [work for work in works if work.result is None]
        await self._recognise(todo, now_ms)
        for _, group in groupby(todo, lambda work: isinstance(work.command, Count)):
            # A count adds up what came before it: that has to be in the journal by then.
            await self._change(list(group), now_ms)
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
        )
        work = _Work(arrival)
        self._park(work, unfit, now_ms)
        await self._change([work], now_ms)
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
                work.command = told
        if not strangers:
            return
        try:
            self._catalog.check_loaded()
        except MasterDataUnavailable:
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
                work.command = told

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
                work.result = EventResult("", "", "rejected", event.reason, event.detail)
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
            )
            self._park(work, ahead, now_ms)
            return None
        return event

    def _is_first(self, event: AnyEvent) -> bool:
        """Whether the feed speaks of a location for the first time, where that is noted."""
        return self._auto_create and (event.source, places_told(event)) not in self._spoken_of

    async def _meet(self, strangers: Sequence[AnyEvent]) -> bool:
        """Whether master data could be asked for them, or they are created."""
        names = [names_of(event, self._catalog) for event in strangers]
        feeds = {name.feed for name in names}
        skus = {name.sku for name in names if name.sku is not None}
        locations = {place for name in names for place in name.places}
        if not self._auto_create:
            return await self._catalog.look_again(skus=skus, locations=locations, feeds=feeds)
        # A transfer speaks for the location whose on_hand changes, a heartbeat for none.
        heard = {(name.feed, name.places[0] if name.places else "") for name in names}
        await self._catalog.ensure(skus=skus, locations=locations, feeds=heard)
        self._spoken_of.update((event.source, places_told(event)) for event in strangers)
        return True

    def _park(self, work: _Work, unfit: Unfit, now_ms: int) -> None:
        feed = self._catalog.feeds.get(unfit.source)
        work.command = park(
            unfit,
            work.arrival.payload,
            arrival_id=work.arrival.arrival_id,
            now_ms=now_ms,
            feed_owner=feed.owner if feed is not None else "integration",
        )

    async def _recognise(self, works: Sequence[_Work], now_ms: int) -> None:
        """What is older than the dedupe window may be known to the ledger alone."""
        oldest_ms = now_ms - self._window_ms
        old = [work for work in works if work.command.occurred_at_ms < oldest_ms]
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

    # From command to result.

    async def _change(self, works: Sequence[_Work], now_ms: int) -> None:
        """Through the door, in order; a count again as long as its level moves under it."""
        for _ in range(ROUNDS):
            await self._merge(works)
            todo = [work for work in works if work.result is None]
            if not todo:
                return
            outcomes = await self._store.apply_all([work.command for work in todo])
            for work, outcome in zip(todo, outcomes, strict=True):
                self._settle(work, outcome, now_ms)
        for work in works:
            if work.result is None:
                work.ends("waiting", "moved")

    async def _merge(self, works: Iterable[_Work]) -> None:
        todo, counts = [], []
        for work in works:
            if work.result is None and isinstance(work.command, Count):
                todo.append(work)
                counts.append(work.command)
        if not counts:
            return
        whole = await merged(counts, self._store, self._ledger)
        for work, count in zip(todo, whole, strict=True):
            if count is None:
                work.ends("waiting", "ledger-away")
            else:
                work.command = count

    def _settle(self, work: _Work, outcome: Outcome, now_ms: int) -> None:
        match outcome:
            case Applied(seq):
                work.ends("applied", seq=seq)
            case Absorbed(seq):
                work.ends("absorbed", seq=seq)
            case Duplicate():
                work.ends("duplicate")
            case Parked(seq):
                work.ends("parked", seq=seq)
            case Moved():
                pass
            case Faulted(message) if isinstance(work.command, Park):
                log.error("parking_faulted", reason=work.command.reason, message=message)
                work.ends("waiting")
            case Faulted(message):
                self._park(work, _stumbled(work.command, message), now_ms)
            case _:
                raise AssertionError(f"no outcome of a fact: {outcome}")


def _results(works: Sequence[_Work]) -> list[EventResult]:
    results = [work.result for work in works if work.result is not None]
    metrics.count_events(result.status for result in results)
    return results


def _stumbled(command: Fact, message: str) -> Unfit:
    kind = type(command).__name__
    return Unfit(
        reason="faulted",
        subject=f"{kind} {getattr(command, 'sku', '')}",
        detail=tidy(message, 300),
        source=command.source,
        event_id=command.event_id,
    )
