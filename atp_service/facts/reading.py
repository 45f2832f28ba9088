"""Arrivals become commands: decoded, their names resolved. An event that can't be is parked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import structs

from atp_service.catalog import Catalog
from atp_service.catalog.resolve import resolve
from atp_service.facts.arrival import Arrival
from atp_service.facts.canonical_events import (
    AHEAD_MS,
    AnyEvent,
    Unfit,
    names_sent,
    read_event,
    tidy,
)
from atp_service.facts.parking import park
from atp_service.facts.translation import Locations, named_locations, names_of, translate, unfit
from atp_service.facts.work import EventResult, Ready, Unresolved, Work
from atp_service.postgres import Unavailable

RAW_SUBJECT: Final = "atp.raw."


class Reader:
    """Reads arrivals with the names that the catalog has, or creates them on first sight."""

    def __init__(self, catalog: Catalog, *, auto_create: bool) -> None:
        self._catalog = catalog
        self._auto_create = auto_create
        self._introduced: set[tuple[str, Locations]] = set()

    async def read(self, arrivals: Sequence[Arrival], now_ms: int) -> list[list[Work]]:
        """Of each arrival its works, one for each of its events, in order.

        A work is Ready; or it has its result, since it is rejected or since master data is away.
        """
        latest = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now_ms + AHEAD_MS + 1)
        read = [
            [self._work(arrival, event, now_ms) for event in events_of(arrival, latest)]
            for arrival in arrivals
        ]
        unresolved = [w for works in read for w in works if isinstance(w.state, Unresolved)]
        if unresolved:
            await self._resolve(unresolved, now_ms)
        return read

    def _work(self, arrival: Arrival, event: AnyEvent | Unfit, now_ms: int) -> Work:
        if isinstance(event, Unfit):
            if event.reason == "malformed" and arrival.subject is None:
                sent = names_sent(arrival.payload)
                result = EventResult(*sent, "rejected", event.reason, event.detail)
                return Work(arrival, event, result)
            return Work(arrival, event, park(event, arrival, self._catalog, now_ms))
        ready = translate(event, self._catalog)
        if isinstance(ready, Unfit) or (self._auto_create and self._is_first(event)):
            return Work(arrival, event, Unresolved())
        return Work(arrival, event, ready)

    def _is_first(self, event: AnyEvent) -> bool:
        """Whether the feed names the locations for the first time."""
        return (event.source, named_locations(event)) not in self._introduced

    async def _resolve(self, works: Sequence[Work], now_ms: int) -> None:
        events = [work.event for work in works if not isinstance(work.event, Unfit)]
        asked = await self._ask_for(events)
        for work, event in zip(works, events, strict=True):
            ready = translate(event, self._catalog) if asked is not None else None
            if isinstance(ready, Unfit) and asked:
                ready = park(ready, work.arrival, self._catalog, now_ms)
            if isinstance(ready, Ready):
                work.state = ready
            else:
                work.state = EventResult(event.source, event.id, "waiting", "master-data-away")

    async def _ask_for(self, events: Sequence[AnyEvent]) -> bool | None:
        """Whether a name that memory does not have now is unknown. None before master data was read
        for the first time: every name would be unknown."""
        try:
            self._catalog.check_loaded()
        except Unavailable:
            return None
        names = [names_of(event, self._catalog) for event in events]
        asked = await resolve(
            self._catalog,
            skus={name.sku for name in names if name.sku is not None},
            locations={location for name in names for location in name.locations},
            # A transfer reports the location whose on_hand changes, a heartbeat none.
            feeds={(name.feed, name.locations[0] if name.locations else "") for name in names},
            create=self._auto_create,
        )
        if self._auto_create:
            self._introduced.update((event.source, named_locations(event)) for event in events)
        return asked


def events_of(arrival: Arrival, latest: datetime) -> list[AnyEvent | Unfit]:
    """The events in an arrival, or why it has none that can be applied. Pure.

    An event that happened at `latest` or later is too far ahead.

    A canonical message has one. A native one would have any number; no adapter reads it yet.
    """
    subject = arrival.subject
    if subject is not None and subject.startswith(RAW_SUBJECT):
        adapter = tidy(subject.split(".")[2])
        detail = f"no adapter {adapter}"
        return [Unfit(reason="no-adapter", subject=adapter, detail=detail)]
    event = read_event(arrival.payload)
    if isinstance(event, Unfit):
        if event.reason == "malformed" and subject is not None:
            event = structs.replace(event, subject=tidy(subject, 200))
        return [event]
    if event.traceparent is None and arrival.traceparent is not None:
        event = structs.replace(event, traceparent=arrival.traceparent)
    if event.time >= latest:
        detail = f"{event.time.isoformat()} is more than 5 minutes ahead"
        return [unfit(event, "future-time", event.source, detail)]
    return [event]
