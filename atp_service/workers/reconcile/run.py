"""One run: what it reads, what it has found, and how it sets that right."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from msgspec import Struct, structs

from atp_service.inventory.commands import Command
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.outcomes import Applied, Moved, Unchanged
from atp_service.ledger import Ledger
from atp_service.ledger.reconciliations import Drift, Kind, Lease, Reconciliation, Report
from atp_service.store import Partition
from atp_service.store.scan import Moment, Walk
from atp_service.workers.reconcile.name_set import Known
from atp_service.workers.reconcile.throttle import Pace

log = structlog.get_logger()

PAGE: Final = 1_000  # names read at once
CLOSER_AT_ONCE: Final = 100  # names looked at more closely at once
TRIES: Final = 5  # for what moves on while it is repaired
SHARE: Final = 0.3  # of the time is spent comparing, at most
MOST_SHOWN: Final = 1_000  # differences in a report
RECORDED_SECONDS: Final = 30.0  # how long the ledger may take to have what Redis has

Key = TypeVar("Key")


class Difference(Struct, frozen=True):
    """Something that isn't as the ledger has it, and the command that sets it right, if any can."""

    drift: Drift
    command: Command | None


Look = Callable[[Sequence[Key]], Awaitable[list[tuple[Key, Difference]]]]


def unnameable(kind: Kind) -> Look[bytes]:
    """How to look at what no command can name: only a person can take it away."""

    async def look(names: Sequence[bytes]) -> list[tuple[bytes, Difference]]:
        return [
            (name, Difference(Drift(kind=kind, found={"unreadable": name[:64].hex()}), None))
            for name in names
        ]

    return look


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
        self.known_stock = Known()
        self._partition = partition
        self._lease = lease
        self._asked = asked
        self._pace = Pace(SHARE)
        self._told: set[Any] = set()

    async def rest(self) -> None:
        """Let others have the machine for a while."""
        await self._pace.rest()

    async def moment(self, **names: Sequence[str]) -> Moment:
        """What Redis has of these at one moment, once the ledger has come as far."""
        moment = await self.walk.moment(**names)
        await self._until_recorded(moment.entry)
        return moment

    async def settled(self) -> None:
        """Wait until the ledger has all that has happened, our own repairs among it."""
        await self.moment()

    async def settle(self, keys: Sequence[Key], look: Look[Key]) -> None:
        """Look closer at what may be wrong; report and repair what is."""
        for first in range(0, len(keys), CLOSER_AT_ONCE):
            await self._settle(keys[first : first + CLOSER_AT_ONCE], look)
            await self.rest()

    async def _settle(self, keys: Sequence[Key], look: Look[Key]) -> None:
        for left in reversed(range(TRIES)):
            found = await look(keys)
            if not found:
                return
            keys = await self._repair(found, last_try=not left)
            if not keys:
                return

    async def _repair(
        self, found: Sequence[tuple[Key, Difference]], *, last_try: bool
    ) -> list[Key]:
        """Those that have moved on meanwhile; all others are reported."""
        if not self._asked.repair:
            for key, difference in found:
                self._tell(key, difference.drift)
            return []
        # A run that was frozen and has lost its lease must not repair what is repaired already.
        await self._lease.hold()
        ordered = [(key, d.drift, d.command) for key, d in found if d.command is not None]
        outcomes = await self._partition.apply_all([command for _, _, command in ordered])
        moved: list[Key] = []
        for (key, drift, _), outcome in zip(ordered, outcomes, strict=True):
            match outcome:
                case Applied(entry):
                    repaired = structs.replace(drift, repaired=True, entry=entry.seq)
                    self._tell((key, entry), repaired)
                case Moved() | Unchanged() if not last_try:
                    moved.append(key)  # or somebody else was quicker
                case _:
                    log.error("drift_not_repaired", outcome=repr(outcome), drift=drift)
                    self._tell(key, drift)
        for key, difference in found:
            if difference.command is None:
                self._tell(key, difference.drift)
        return moved

    def _tell(self, key: Any, drift: Drift) -> None:
        """Each thing once, however often the walks come by."""
        if (drift.kind, key) in self._told:
            return
        self._told.add((drift.kind, key))
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

    async def _until_recorded(self, entry: EntryRef) -> None:
        await self.ledger.wait_for(entry, RECORDED_SECONDS)
        self.report.through_seq = max(self.report.through_seq, entry.seq)
