"""A fork's own commands are applied again, in order, on top of what the ledger has.

They were acknowledged. Most fit; what the ledger has already is a repeat, by its own key; what no
longer fits becomes an exception that names the order. Each command carries the digest of the entry
it repeats, so that a rebuild that takes over from one that died knows how far that one came.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog
from msgspec import Struct, structs
from psycopg import AsyncConnection

from atp_service.facts.count_merge import Merging
from atp_service.inventory import outcomes
from atp_service.inventory.commands import (
    AnyCommand,
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
from atp_service.inventory.journal import DecodedEntry, decode_fields
from atp_service.inventory.outcomes import Moved, Outcome
from atp_service.inventory.reservations import Reservation
from atp_service.ledger import Ledger
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
from atp_service.workers.rebuild.fork.entry import UNREADABLE, readable

log = structlog.get_logger()

_AT_ONCE: Final = 100  # a rebuild that takes over begins with the group that was under way
_ROUNDS: Final = 10
_LONGEST_TAIL: Final = 50_000  # a fork's; nobody else is held up while it is read
_CONFIRM_MS: Final = 60_000

_REPAIRS = (RepairLevel, RepairReservation, RepairOrder)  # of a Redis that is no more
_REFUSALS = (
    outcomes.Refused,
    outcomes.TermsNeeded,
    outcomes.InsufficientStock,
    outcomes.ReservationLost,
    outcomes.ReservationIdReused,
    outcomes.NotFound,
    outcomes.WrongStatus,
    outcomes.GenerationMismatch,
    outcomes.AlreadyConfirmed,
    outcomes.QuantityNotOpen,
    outcomes.NoRoom,
    outcomes.Faulted,
    Moved,
)


class Applied(Struct):
    """How many commands a fork had acknowledged, and how many of them no longer fit."""

    commands: int = 0
    conflicts: int = 0


class Again:
    """Applies what forks had acknowledged, to a partition that no other caller may use yet."""

    def __init__(
        self,
        partition: Partition,
        ledger: Ledger,
        connection: AsyncConnection[Any],
        *,
        window_ms: int,
    ) -> None:
        self._ledger = ledger
        self._connection = connection
        self._partition = partition
        self._window_ms = window_ms
        self._merging = Merging(partition, ledger, longest_tail=_LONGEST_TAIL)
        self._order_of: dict[str, str] = {}
        self._held_until: dict[str, int] = {}  # as the fork left them, and said so
        self._nobodys_from: dict[str, int] = {}  # when a cart's hold has ended; no order has it
        self._confirmed: set[str] = set()
        self._done: set[str] = set()
        self.applied = Applied()

    async def run(self) -> None:
        """All that forks had and no rebuild that has opened has applied."""
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
        await self._tell([conflicts.missing(one, now_ms) for one in missing])

    async def _survey(self) -> None:
        """Which orders the reservations are for, and what was done before this rebuild."""
        async for commands in commands_since_fork(self._connection, self._partition.number):
            self._done.update(mark for command in commands if (mark := _mark_of(command)))
        last_done, place = -1, 0
        digests: list[str] = []
        async for entries in unopened_forks(self._connection, self._partition.number):
            for entry in entries:
                decoded = readable(entry)
                if isinstance(decoded.command, Confirm):
                    self._order_of[decoded.command.reservation_id] = decoded.command.order_id
                    self._confirmed.add(decoded.command.reservation_id)
                for name, reservation in decoded.reservations.items():
                    if reservation.order_id:
                        self._order_of[name] = reservation.order_id
                    self._held_until.pop(name, None)
                    if reservation.status == "held":
                        self._held_until[name] = reservation.expires_at
                    self._nobodys_from.pop(name, None)
                    if (ended_at := _nobodys_from(reservation)) is not None:
                        self._nobodys_from[name] = ended_at
                digests.append(entry.digest)
                if entry.digest in self._done:
                    last_done = place
                place += 1
        # Groups before the one with the last mark were done with, exceptions and all.
        self._done.update(digests[: max(0, last_done) // _AT_ONCE * _AT_ONCE])

    async def _apply(self, group: Sequence[ForkEntry]) -> None:
        """One group, in order, and after it what became of those that no longer fit."""
        entries = [entry for entry in group if entry.digest not in self._done]
        now_ms = await self._partition.reads.now_ms()
        todo: list[tuple[ForkEntry, AnyCommand]] = []
        left: list[AnyCommand] = []
        for entry in entries:
            decoded = readable(entry)
            if decoded.command is None:
                left.append(conflicts.unreadable(entry, decoded, self._order_of, now_ms))
            elif not isinstance(decoded.command, _REPAIRS):
                todo.append((entry, self._as_of_now(entry, decoded.command, decoded, now_ms)))
        await self._tell(left)
        known = await self._known_events([command for _, command in todo], now_ms)
        for run in _runs([(e, c) for e, c in todo if _event(c) not in known]):
            commands = [command for _, command in run]
            left = []
            for (entry, command), outcome in zip(run, await self._outcomes(commands), strict=True):
                if isinstance(outcome, outcomes.Repeated) and isinstance(command, Hold | Replace):
                    outcome = await self._keep_told(entry, command, now_ms)
                if isinstance(outcome, _REFUSALS):
                    left.extend(await self._no_longer_fits(entry, command, outcome, now_ms))
            await self._tell(left)
        self.applied.commands += len(todo)

    async def _no_longer_fits(
        self, entry: ForkEntry, command: AnyCommand, outcome: Outcome, now_ms: int
    ) -> list[AnyCommand]:
        """The exception; and if units left by this command, that they did."""
        reservation_id = getattr(command, "reservation_id", None) or ""
        order_id = self._order_of.get(reservation_id)
        conflict = conflicts.refused(entry, command, outcome, order_id, now_ms)
        if not isinstance(command, Fulfil | NoPick):
            if self._is_nobodys(reservation_id, now_ms):
                self.applied.conflicts += 1
                return []
            return [conflict]
        known = await self._partition.reads.reservation(reservation_id)
        departed = departures(entry, readable(entry), known, order_id)
        # The last of them says that the entry is done with: not the exception, which comes first.
        return [structs.replace(conflict, forked=None), *departed] if departed else [conflict]

    def _is_nobodys(self, reservation_id: str, now_ms: int) -> bool:
        """By the fork's last word the hold has ended, or it has lapsed since: no cart waits."""
        ended_at = self._nobodys_from.get(reservation_id)
        return ended_at is not None and ended_at <= now_ms and reservation_id not in self._confirmed

    async def _tell(self, left: Sequence[AnyCommand]) -> None:
        """What could not be applied again becomes exceptions, and what left all the same leaves."""
        told = [conflict for conflict in left if isinstance(conflict, Park)]
        for conflict in told:
            log.error("fork_conflicted", subject=conflict.subject, detail=conflict.detail)
        if left:
            await self._partition.apply_all(left)
        self.applied.conflicts += len(told)

    def _as_of_now(
        self, entry: ForkEntry, command: AnyCommand, decoded: DecodedEntry, now_ms: int
    ) -> AnyCommand:
        """The command as it has to be given now: a hold keeps the deadline it was told."""
        command = structs.replace(command, forked=entry.digest)
        if isinstance(command, Hold | Replace | Extend):
            told = decoded.reservations.get(command.reservation_id)
            # One that is over by now lapses when it is next looked at; but what was confirmed in
            # time, a few commands on, was still held then.
            left_ms = told.expires_at - now_ms if told is not None else command.ttl_ms
            if told is not None and isinstance(command, Hold | Replace) and command.allow_partial:
                command = structs.replace(command, lines=_as_held(told), allow_partial=False)
            if command.reservation_id in self._confirmed:
                left_ms = max(left_ms, _CONFIRM_MS)
            command = structs.replace(command, ttl_ms=left_ms)
        if isinstance(command, Confirm):
            told = decoded.reservations.get(command.reservation_id)
            command = structs.replace(command, terms=_terms_as_held(told) if told else None)
        if isinstance(command, Replace) and command.key is None:
            command = structs.replace(command, key=_key(entry))
        return command

    async def _keep_told(self, entry: ForkEntry, command: Hold | Replace, now_ms: int) -> Outcome:
        """The ledger has this hold already: it lasts as long as the fork promised. A refusal if it
        has ended there."""
        until = self._held_until.get(command.reservation_id, 0)
        known = await self._partition.reads.reservation(command.reservation_id)
        if until <= now_ms or known is None:
            return outcomes.Unchanged()
        if known.status in ("released", "expired"):
            return outcomes.WrongStatus(known)
        if known.status != "held" or known.expires_at >= until:
            return outcomes.Unchanged()
        return await self._partition.apply(
            Extend(
                reservation_id=command.reservation_id,
                ttl_ms=until - now_ms,
                key=_key(entry),
                forked=entry.digest,
            )
        )

    async def _known_events(
        self, commands: Sequence[AnyCommand], now_ms: int
    ) -> set[tuple[str, str]]:
        """Events older than the dedupe window that the ledger has: the script can't know them."""
        old = [
            (command.source, command.event_id)
            for command in commands
            if isinstance(command, Fact) and command.occurred_at_ms < now_ms - self._window_ms
        ]
        return await self._ledger.seen_events(old) if old else set()

    async def _outcomes(self, commands: Sequence[AnyCommand]) -> list[Outcome]:
        if not isinstance(commands[0], Count | Snapshot):
            return await self._partition.apply_all(commands)
        outcome: Outcome = Moved()
        for _ in range(_ROUNDS):
            (merged,) = await self._merging.merged([commands[0]])
            if isinstance(merged, str):
                raise Unavailable(f"a count can't be merged: {merged}")
            outcome = await self._partition.apply(merged)
            if not isinstance(outcome, Moved):
                break
        return [outcome]


def _nobodys_from(told: Reservation) -> int | None:
    """When nobody has it any more; None for what an order has, or units have left of."""
    if told.order_id or any(line.fulfilled for line in told.lines):
        return None
    return told.expires_at if told.status == "held" else told.closed_at


def _mark_of(command: bytes) -> str | None:
    try:
        return decode_fields(command).forked
    except UNREADABLE:
        return None


def _key(entry: ForkEntry) -> str:
    return f"~{entry.digest[:16]}"


def _runs(
    todo: Sequence[tuple[ForkEntry, AnyCommand]],
) -> list[list[tuple[ForkEntry, AnyCommand]]]:
    """In order; a count by itself, since what came before it has to be in the journal by then. And
    what may have left the building has left before more is promised."""
    runs: list[list[tuple[ForkEntry, AnyCommand]]] = []
    counted, leaves = True, False
    for entry, command in todo:
        counts = isinstance(command, Count | Snapshot)
        if counts or counted or (leaves and isinstance(command, Hold | Replace | Confirm)):
            runs.append([])
            leaves = False
        runs[-1].append((entry, command))
        counted, leaves = counts, leaves or isinstance(command, Fulfil | NoPick)
    return runs


def _as_held(told: Reservation) -> list[HoldLine]:
    """What a partial hold was told it has: no less will do."""
    return [
        HoldLine(
            line_id=line.line_id,
            sku=line.sku,
            location=line.location,
            quantity=line.quantity,
            safety_stock=line.safety_stock,
            granted=line.reserved,
        )
        for line in told.lines
    ]


def _terms_as_held(reservation: Reservation) -> Terms:
    """The order was acknowledged: if the hold has lapsed meanwhile, its units alone decide."""
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
