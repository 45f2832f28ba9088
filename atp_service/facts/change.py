"""Commands of one call go through the door, and their works get results."""

from collections.abc import Sequence
from typing import Final

import structlog

from atp_service.catalog import Catalog
from atp_service.facts.canonical_events import Unfit, tidy
from atp_service.facts.count_merge import Mergings
from atp_service.facts.parking import park
from atp_service.facts.work import Ready, Work
from atp_service.inventory.commands import Count, Fact, Park, Snapshot
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

ROUNDS: Final = 10  # how often a count or a snapshot's line may find that its level has moved


class Changes:
    """Applies the works of one call."""

    def __init__(self, store: Store, ledger: Ledger, catalog: Catalog, now_ms: int) -> None:
        self._store = store
        self._catalog = catalog
        self._now_ms = now_ms
        self._merging = Mergings(store, ledger)

    async def apply(self, works: Sequence[Work]) -> None:
        """Apply works that are ready, in order.

        A count or a line is merged anew while its level moves. Raises the store's Unavailable or
        Fenced.
        """
        for _ in range(ROUNDS):
            works = await self._merge(works)
            if not works:
                return
            outcomes = await self._store.apply_all([work.command for work in works])
            works = [
                work
                for work, outcome in zip(works, outcomes, strict=True)
                if self._is_open(work, outcome)
            ]
        for work in works:
            work.end("waiting", "moved")

    async def _merge(self, works: Sequence[Work]) -> Sequence[Work]:
        """The works that are ready to be applied; the others wait for the ledger."""
        observing = [
            (work, command)
            for work in works
            if isinstance(command := work.command, (Count, Snapshot))
        ]
        if not observing:
            return works
        merged = await self._merging.merged([observed for _, observed in observing])
        for (work, _), observed in zip(observing, merged, strict=True):
            if isinstance(observed, str):
                work.end("waiting", observed)
            else:
                work.state = Ready(observed)
        return [work for work in works if isinstance(work.state, Ready)]

    def _is_open(self, work: Work, outcome: Outcome) -> bool:
        """Whether the work has a command to apply still; else it has its result now."""
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
                return True
            case Faulted(message):
                command = work.command
                if not isinstance(command, Park):
                    unfit = _faulted(command, message)
                    work.state = park(unfit, work.arrival, self._catalog, self._now_ms)
                    return True
                log.error("parking_faulted", reason=command.reason, message=message)
                work.end("waiting")
            case _:
                raise AssertionError(f"no outcome of a fact: {outcome}")
        return False


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
