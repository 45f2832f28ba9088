"""One run: what it reads of Redis, the differences it has found, and their repair."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from msgspec import Struct, structs

from atp_service.inventory.commands import Command
from atp_service.inventory.outcomes import Applied, Moved, Unchanged
from atp_service.ledger import Ledger
from atp_service.ledger.reconciliations import Drift, Kind, Lease, Reconciliation, Report
from atp_service.store import Partition
from atp_service.store.scan import Moment, Pairs, Walk
from atp_service.workers.reconcile.name_set import NameSet
from atp_service.workers.reconcile.raw_values import read_name, shown
from atp_service.workers.reconcile.throttle import Throttle

log = structlog.get_logger()

PAGE: Final = 1_000  # names read at once
EXAMINED_AT_ONCE: Final = 100
TRIES: Final = 5  # for a value that changes while it is repaired
SHARE: Final = 0.3  # of the time is spent comparing, at most
MOST_SHOWN: Final = 1_000  # differences in a report
RECORDED_SECONDS: Final = 30.0  # how long the ledger may take to have what Redis has

Key = TypeVar("Key")
Value = TypeVar("Value")


class Difference(Struct, frozen=True):
    """A value that isn't as the ledger has it, and the command that repairs it."""

    drift: Drift
    command: Command


Examine = Callable[[Sequence[Key]], Awaitable[list[tuple[Key, Difference]]]]
"""Compares values exactly: as of the entry that was Redis's latest when they were read."""


class Comparison:
    """One partition's part of a run; `report` is of the whole run."""

    def __init__(
        self,
        partition: Partition,
        ledger: Ledger,
        lease: Lease,
        asked: Reconciliation,
        report: Report,
    ) -> None:
        self.number = partition.number
        self.ledger = ledger
        self.walk: Walk = partition.walk()
        self.scope = asked.scope
        self.report = report
        self.known_stock = NameSet()
        self._partition = partition
        self._lease = lease
        self._asked = asked
        self._throttle = Throttle(SHARE)
        self._reported: set[Any] = set()

    async def rest(self) -> None:
        """Let others have the machine for a while."""
        await self._throttle.rest()

    async def moment(self, **names: Sequence[str]) -> Moment:
        """What Redis has under these names at one moment, once the ledger has come as far."""
        moment = await self.walk.moment(**names)
        await self.ledger.wait_for(moment.entry, RECORDED_SECONDS)
        self.report.through_seq = max(self.report.through_seq, moment.seq)
        return moment

    async def named(
        self, kind: Kind, found_pages: AsyncIterator[Pairs[Value]]
    ) -> AsyncIterator[dict[str, Value]]:
        """The pages of a scan by name. Names that no command can hold are reported."""
        async for found in found_pages:
            named: dict[str, Value] = {}
            for raw, value in found:
                name = read_name(raw)
                if name is None:
                    self.add_unnameable(kind, raw)
                else:
                    named[name] = value
            yield named
            await self.rest()

    def add_unnameable(self, kind: Kind, name: bytes) -> None:
        """Report a name that no command can repair: only a person can take it away."""
        self._add(name, Drift(kind=kind, found=shown(name, None)))

    async def resolve(self, suspects: Sequence[Key], examine: Examine[Key]) -> None:
        """Examine what may differ; report and repair what does."""
        keys = list(dict.fromkeys(suspects))
        for first in range(0, len(keys), EXAMINED_AT_ONCE):
            await self._resolve(keys[first : first + EXAMINED_AT_ONCE], examine)
            await self.rest()

    async def _resolve(self, keys: Sequence[Key], examine: Examine[Key]) -> None:
        for tries_left in reversed(range(TRIES)):
            found = await examine(keys)
            if not found:
                return
            keys = await self._repair(found, last_try=not tries_left)
            if not keys:
                return

    async def _repair(
        self, found: Sequence[tuple[Key, Difference]], *, last_try: bool
    ) -> list[Key]:
        """Returns those that have changed meanwhile; all others are reported."""
        if not self._asked.repair:
            for key, difference in found:
                self._add(key, difference.drift)
            return []
        # A run that was frozen and has lost its lease must not repair what is repaired already.
        await self._lease.hold()
        outcomes = await self._partition.apply_all([d.command for _, d in found])
        changed: list[Key] = []
        for (key, difference), outcome in zip(found, outcomes, strict=True):
            drift = difference.drift
            match outcome:
                case Applied(entry):
                    repaired = structs.replace(drift, repaired=True, entry=entry.seq)
                    self._add((key, entry), repaired)
                case Moved() | Unchanged() if not last_try:
                    changed.append(key)  # or another reconciler was quicker
                case _:
                    log.error("drift_not_repaired", outcome=repr(outcome), drift=drift)
                    self._add(key, drift)
        return changed

    def _add(self, key: Any, drift: Drift) -> None:
        """Report each difference once, however often it is found."""
        if (drift.kind, key) in self._reported:
            return
        self._reported.add((drift.kind, key))
        self.report.drift_total += 1
        self.report.repaired += drift.repaired
        if len(self.report.drift) < MOST_SHOWN:
            self.report.drift.append(drift)
            log.warning(
                "drift_found",
                kind=drift.kind,
                sku=drift.sku,
                location=drift.location,
                reservation_id=drift.reservation_id,
                order_id=drift.order_id,
                repaired=drift.repaired,
                entry=drift.entry,
            )
