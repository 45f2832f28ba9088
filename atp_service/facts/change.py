"""Commands of one call go through the door, and their works get results."""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from atp_service.catalog import Catalog
from atp_service.facts.canonical_events import Unfit, tidy
from atp_service.facts.count_merge import Mergings, Observed
from atp_service.facts.parking import park
from atp_service.facts.work import Ready, Work
from atp_service.inventory.commands import Fact, Park
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
from atp_service.store import Store

log = structlog.get_logger()

Readies = list[tuple[Work, Ready]]
ROUNDS: Final = 10  # how often a count or a snapshot's line may find that its level has moved


class Changes:
    """Applies the works of one call."""

    def __init__(self, store: Store, ledger: Ledger, catalog: Catalog, now_ms: int) -> None:
        self._store = store
        self._catalog = catalog
        self._now_ms = now_ms
        self._merging = Mergings(store, ledger)

    async def apply(self, works: Sequence[Work]) -> None:
        """Apply those that are ready, in order.

        A count or a line is merged anew while its level moves. Raises the store's Unavailable or
        Fenced.
        """
        ready = _ready(works)
        for _ in range(ROUNDS):
            ready = await self._merge(ready)
            if not ready:
                return
            outcomes = await self._store.apply_all([state.command for _, state in ready])
            for (work, state), outcome in zip(ready, outcomes, strict=True):
                self._take(work, state.command, outcome)
            ready = _ready(work for work, _ in ready)
        for work, _ in ready:
            work.end("waiting", "moved")

    async def _merge(self, ready: Readies) -> Readies:
        observing = [
            (work, state.command) for work, state in ready if isinstance(state.command, Observed)
        ]
        if not observing:
            return ready
        merged = await self._merging.merged([observed for _, observed in observing])
        for (work, _), command in zip(observing, merged, strict=True):
            if isinstance(command, str):
                work.end("waiting", command)
            else:
                work.state = Ready(command)
        return _ready(work for work, _ in ready)

    def _take(self, work: Work, command: Fact, outcome: Outcome) -> None:
        match outcome:
            case Applied(entry):
                work.end("applied", entry=entry)
            case Absorbed(entry):
                work.end("absorbed", entry=entry)
            case Duplicate():
                work.end("duplicate")
            case Parked(entry):
                work.end("parked", entry=entry)
            case Moved():
                pass
            case Faulted(message) if isinstance(command, Park):
                log.error("parking_faulted", reason=command.reason, message=message)
                work.end("waiting")
            case Faulted(message):
                unfit = _faulted(command, message)
                work.state = park(unfit, work.arrival, self._catalog, self._now_ms)
            case _:
                raise AssertionError(f"no outcome of a fact: {outcome}")


def _ready(works: Iterable[Work]) -> Readies:
    return [(work, state) for work in works if isinstance(state := work.state, Ready)]


def _faulted(command: Fact, message: str) -> Unfit:
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
