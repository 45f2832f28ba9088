"""A fork's commands are applied again, in order, on top of what the ledger has.

They were acknowledged. Most fit. A command that the ledger has already is a repeat, by its own key;
one that no longer fits becomes an exception that names the order. Each command carries the digest
of its entry, so that the next rebuild knows how far one that died came.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct, structs
from psycopg import AsyncConnection

from atp_service.facts.count_merge import Merging
from atp_service.inventory import outcomes
from atp_service.inventory.commands import (
    AnyCommand,
    Command,
    Confirm,
    Count,
    Extend,
    Fact,
    Fulfil,
    Hold,
    HoldLine,
    LineTerms,
    NoPick,
    Park,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    Replace,
    Snapshot,
    Terms,
)
from atp_service.inventory.journal import UNREADABLE, DecodedEntry, decode_fields
from atp_service.inventory.outcomes import Moved, Outcome
from atp_service.inventory.reservations import Reservation
from atp_service.ledger.rebuilds import (
    ForkEntry,
    commands_since_fork,
    missing_of_forks,
    unopened_forks,
)
from atp_service.postgres import Unavailable
from atp_service.store import Partition
from atp_service.workers.rebuild.fork import conflicts
from atp_service.workers.rebuild.fork.departures import departures
from atp_service.workers.rebuild.fork.entry import Step, readable
from atp_service.workers.rebuild.report import Report
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()

_AT_ONCE: Final = 100  # a rebuild that takes over begins with the group that was under way
_ROUNDS: Final = 10
_LONGEST_TAIL: Final = 50_000  # a fork's; no other caller waits while it is read
_CONFIRM_MS: Final = 60_000

_REPAIRS = (RepairLevel, RepairReservation, RepairOrder)  # of a Redis that is gone
_FITS = (
    *(outcomes.Held, outcomes.Changed, outcomes.Confirmed, outcomes.Repeated, outcomes.Unchanged),
    *(outcomes.Applied, outcomes.Absorbed, outcomes.Duplicate, outcomes.Parked, outcomes.Swept),
)


class _Left(Struct, frozen=True):
    """A reservation as the fork left it. Times are Unix milliseconds.

    `held_until` is 0 if it is not held. `ended_at` says when no cart waits for it any more; None if
    an order has it, or units have left.
    """

    order_id: str
    held_until: int
    ended_at: int | None


class Reapplication:
    """Applies the commands of forks to a partition that no other caller may use yet; the report
    counts them and their conflicts."""

    def __init__(
        self, partition: Partition, tools: Tools, connection: AsyncConnection[Any], report: Report
    ) -> None:
        self._partition = partition
        self._ledger = tools.ledger
        self._window_ms = tools.window_ms
        self._connection = connection
        self._report = report
        self._merging = Merging(partition, tools.ledger, longest_tail=_LONGEST_TAIL)
        self._left: dict[str, _Left] = {}
        self._confirmed: dict[str, str] = {}  # reservation id -> order id
        self._done: set[str] = set()

    async def run(self) -> None:
        """Apply what forks had and no rebuild that has opened has applied."""
        await self._survey()
        group: list[ForkEntry] = []
        async for entries in unopened_forks(self._connection, self._partition.number):
            for entry in entries:
                group.append(entry)
                if len(group) == _AT_ONCE:
                    await self._apply(group)
                    group = []
        await self._apply(group)
        now_ms = await self._partition.reads.now_ms()
        missing = await missing_of_forks(self._connection, self._partition.number)
        await self._send([conflicts.missing(lost, now_ms) for lost in missing])

    async def _survey(self) -> None:
        """Read how the fork left each reservation, and what was done before this rebuild."""
        async for commands in commands_since_fork(self._connection, self._partition.number):
            self._done.update(mark for command in commands if (mark := _mark_of(command)))
        last_done = 0
        digests: list[str] = []
        async for entries in unopened_forks(self._connection, self._partition.number):
            for entry in entries:
                decoded = readable(entry)
                if isinstance(decoded.command, Confirm):
                    self._confirmed[decoded.command.reservation_id] = decoded.command.order_id
                self._left |= {key: _left(r) for key, r in decoded.reservations.items()}
                if entry.digest in self._done:
                    last_done = len(digests)
                digests.append(entry.digest)
        # Groups before the one with the last mark were done with, exceptions and all.
        self._done.update(digests[: last_done // _AT_ONCE * _AT_ONCE])

    async def _apply(self, group: Sequence[ForkEntry]) -> None:
        """One group, in order; each run is followed by the exceptions of what no longer fits."""
        now_ms = await self._partition.reads.now_ms()
        steps: list[Step] = []
        unreadable: list[Command] = []
        for entry in group:
            decoded = readable(entry)
            if entry.digest in self._done or isinstance(decoded.command, _REPAIRS):
                continue
            if decoded.command is None:
                unreadable.append(conflicts.unreadable(entry, decoded, self._order_of, now_ms))
            else:
                command = self._as_of_now(entry, decoded.command, decoded, now_ms)
                steps.append(Step(entry, decoded, command))
        await self._send(unreadable)
        known = await self._known_events(steps, now_ms)
        for run in _runs(step for step in steps if _event(step.command) not in known):
            follow_up: list[Command] = []
            for step, outcome in zip(run, await self._outcomes(run), strict=True):
                if isinstance(outcome, outcomes.Repeated):
                    outcome = await self._keep_deadline(step, outcome, now_ms)
                if not isinstance(outcome, _FITS):
                    follow_up += await self._no_longer_fits(step, outcome, now_ms)
            await self._send(follow_up)
        self._report.fork_commands += len(steps)

    async def _no_longer_fits(self, step: Step, outcome: Outcome, now_ms: int) -> list[Command]:
        """The exception; and if units left by this command, the facts that they did."""
        order_id = self._order_of(step.reservation_id)
        conflict = conflicts.refused(step, outcome, order_id, now_ms)
        if not isinstance(step.command, Fulfil | NoPick):
            if self._has_ended(step.reservation_id, now_ms):
                self._report.fork_conflicts += 1
                return []
            return [conflict]
        known = await self._partition.reads.reservation(step.reservation_id)
        departed = departures(step, known, order_id)
        # The last of them marks the entry as done: not the exception, which comes first.
        return [structs.replace(conflict, forked=None), *departed] if departed else [conflict]

    def _order_of(self, reservation_id: str) -> str | None:
        left = self._left.get(reservation_id)
        return (left and left.order_id) or self._confirmed.get(reservation_id)

    def _has_ended(self, reservation_id: str, now_ms: int) -> bool:
        """Whether the fork had ended the hold, or it has lapsed since: no cart waits for it."""
        left = self._left.get(reservation_id)
        ended_at = None if left is None else left.ended_at
        return ended_at is not None and ended_at <= now_ms and reservation_id not in self._confirmed

    async def _send(self, commands: Sequence[Command]) -> None:
        """Exceptions for what could not be applied again, and the facts of units that left."""
        found = [command for command in commands if isinstance(command, Park)]
        for conflict in found:
            log.error("fork_conflicted", subject=conflict.subject, detail=conflict.detail)
        if commands:
            await self._partition.apply_all(commands)
        self._report.fork_conflicts += len(found)

    def _as_of_now(
        self, entry: ForkEntry, command: AnyCommand, decoded: DecodedEntry, now_ms: int
    ) -> AnyCommand:
        """The command as it is to be given now: a hold keeps the deadline that its caller knows."""
        command = structs.replace(command, forked=entry.digest)
        match command:
            case Hold() | Replace() | Extend():
                held = decoded.reservations.get(command.reservation_id)
                # One that is over by now lapses when it is next looked at; but what was confirmed
                # in time, a few commands on, was still held then.
                left_ms = held.expires_at - now_ms if held is not None else command.ttl_ms
                if command.reservation_id in self._confirmed:
                    left_ms = max(left_ms, _CONFIRM_MS)
                command = structs.replace(command, ttl_ms=left_ms)
                if held is not None and getattr(command, "allow_partial", False):
                    lines = _as_held(held)
                    command = structs.replace(command, lines=lines, allow_partial=False)
                if isinstance(command, Replace) and command.key is None:
                    command = structs.replace(command, key=_key(entry))
            case Confirm():
                held = decoded.reservations.get(command.reservation_id)
                command = structs.replace(command, terms=_terms_as_held(held) if held else None)
        return command

    async def _keep_deadline(self, step: Step, repeated: outcomes.Repeated, now_ms: int) -> Outcome:
        """A hold that the ledger has already lasts as long as the fork promised; a refusal if it
        has ended there."""
        left = self._left.get(step.reservation_id)
        until = left.held_until if left is not None else 0
        if not isinstance(step.command, Hold | Replace) or until <= now_ms:
            return repeated
        # Later commands of the run may have changed it.
        known = await self._partition.reads.reservation(step.reservation_id)
        if known is None:
            return repeated
        if known.status in ("released", "expired"):
            return outcomes.WrongStatus(known)
        if known.status != "held" or known.expires_at >= until:
            return repeated
        return await self._partition.apply(
            Extend(
                reservation_id=step.reservation_id,
                ttl_ms=until - now_ms,
                key=_key(step.entry),
                forked=step.entry.digest,
            )
        )

    async def _known_events(self, steps: Sequence[Step], now_ms: int) -> set[tuple[str, str]]:
        """Events older than the dedupe window that the ledger has: the script can't know them."""
        oldest_ms = now_ms - self._window_ms
        old = [
            (step.command.source, step.command.event_id)
            for step in steps
            if isinstance(step.command, Fact) and step.command.occurred_at_ms < oldest_ms
        ]
        return await self._ledger.seen_events(old) if old else set()

    async def _outcomes(self, run: Sequence[Step]) -> list[Outcome]:
        first = run[0].command
        if not isinstance(first, Count | Snapshot):
            return await self._partition.apply_all([step.command for step in run])
        outcome: Outcome = Moved()
        for _ in range(_ROUNDS):
            (merged,) = await self._merging.merged([first])
            if isinstance(merged, str):
                raise Unavailable(f"a count can't be merged: {merged}")
            outcome = await self._partition.apply(merged)
            if not isinstance(outcome, Moved):
                break
        return [outcome]


def _left(reservation: Reservation) -> _Left:
    is_held = reservation.status == "held"
    ended_at: int | None = reservation.expires_at if is_held else reservation.closed_at
    if reservation.order_id or any(line.fulfilled for line in reservation.lines):
        ended_at = None
    held_until = reservation.expires_at if is_held else 0
    return _Left(reservation.order_id, held_until, ended_at)


def _mark_of(command: bytes) -> str | None:
    try:
        return decode_fields(command).forked
    except UNREADABLE:
        return None


def _key(entry: ForkEntry) -> str:
    return f"~{entry.digest[:16]}"


def _runs(steps: Iterable[Step]) -> list[list[Step]]:
    """In order; a count by itself, since all before it has to be in the journal by then. And units
    that may have left the building leave before more is promised."""
    runs: list[list[Step]] = []
    counted, leaves = True, False
    for step in steps:
        counts = isinstance(step.command, Count | Snapshot)
        if counts or counted or (leaves and isinstance(step.command, Hold | Replace | Confirm)):
            runs.append([])
            leaves = False
        runs[-1].append(step)
        counted, leaves = counts, leaves or isinstance(step.command, Fulfil | NoPick)
    return runs


def _as_held(reservation: Reservation) -> list[HoldLine]:
    """The lines that a partial hold got: no less will do."""
    return [
        HoldLine(
            line_id=line.line_id,
            sku=line.sku,
            location=line.location,
            quantity=line.quantity,
            safety_stock=line.safety_stock,
            granted=line.reserved,
        )
        for line in reservation.lines
    ]


def _terms_as_held(reservation: Reservation) -> Terms:
    """The order was acknowledged: if the hold has lapsed meanwhile, only the stock decides."""
    lines = [
        LineTerms(
            line_id=line.line_id,
            sku=line.sku,
            location=line.location,
            safety_stock=line.safety_stock,
        )
        for line in reservation.lines
    ]
    return Terms(channel=reservation.channel, generation=reservation.generation, lines=lines)


def _event(command: AnyCommand) -> tuple[str, str] | None:
    return (command.source, command.event_id) if isinstance(command, Fact) else None
