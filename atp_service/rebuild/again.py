"""A fork's own commands are applied again, in order, on top of what the ledger has.

They were acknowledged. Most fit; what the ledger has already is a repeat, by its own key; what no
longer fits becomes an exception that names the order. Each command carries the digest of the entry
it repeats, so that a rebuild that takes over from one that died knows how far that one came.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct, structs
from psycopg import AsyncConnection

from atp_service.facts.merging import Observed, merged
from atp_service.inventory import outcomes
from atp_service.inventory.commands import (
    AnyCommand,
    Confirm,
    Count,
    Extend,
    Fact,
    Hold,
    HoldLine,
    Park,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    Replace,
    Snapshot,
    decode_command,
)
from atp_service.inventory.outcomes import Moved, Outcome
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.ledger import Ledger, Unavailable
from atp_service.ledger.rebuilding import ForkEntry, commands_since_fork, unopened_forks
from atp_service.store import Store

log = structlog.get_logger()

SOURCE: Final = "atp/rebuild"
REASON: Final = "fork-conflict"
OWNER: Final = "ecommerce"

_AT_ONCE: Final = 100  # a rebuild that takes over begins with the group that was under way
_ROUNDS: Final = 10
_CONFIRM_MS: Final = 60_000
_DETAIL_CHARACTERS: Final = 1_000

_REPAIRS = (RepairLevel, RepairReservation, RepairOrder)  # of a Redis that is no more
_REFUSALS = (
    outcomes.Short,
    outcomes.Lost,
    outcomes.Reused,
    outcomes.NotFound,
    outcomes.WrongStatus,
    outcomes.GenerationMismatch,
    outcomes.AlreadyConfirmed,
    outcomes.TooMany,
    outcomes.Full,
    outcomes.Faulted,
    Moved,
)
_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class _Marked(Struct, frozen=True):
    forked: str | None = None


_decode_mark = msgspec.msgpack.Decoder(_Marked).decode


class Applied(Struct):
    """How many commands a fork had acknowledged, and how many of them no longer fit."""

    commands: int = 0
    conflicts: int = 0


class Again:
    """Applies what forks had acknowledged, through a store that lets nobody else in."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        connection: AsyncConnection[Any],
        *,
        partition: int,
        window_ms: int,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._connection = connection
        self._partition = partition
        self._window_ms = window_ms
        self._order_of: dict[str, str] = {}
        self._confirmed: set[str] = set()
        self._done: set[str] = set()
        self.applied = Applied()

    async def run(self) -> None:
        """All that forks had and no rebuild that has opened has applied."""
        await self._survey()
        group: list[ForkEntry] = []
        async for entries in unopened_forks(self._connection, self._partition):
            for entry in entries:
                group.append(entry)
                if len(group) == _AT_ONCE:
                    await self._apply(group)
                    group = []
        await self._apply(group)

    async def _survey(self) -> None:
        """Which orders the reservations are for, and what was done before this rebuild."""
        async for commands in commands_since_fork(self._connection, self._partition):
            self._done.update(mark for c in commands if (mark := _decode_mark(c).forked))
        last_done, place = -1, 0
        digests: list[str] = []
        async for entries in unopened_forks(self._connection, self._partition):
            for entry in entries:
                command = decode_command(entry.command)
                if isinstance(command, Confirm):
                    self._order_of[command.reservation_id] = command.order_id
                    self._confirmed.add(command.reservation_id)
                for name, reservation in _reservations(entry):
                    if reservation.order_id:
                        self._order_of[name] = reservation.order_id
                digests.append(entry.digest)
                if entry.digest in self._done:
                    last_done = place
                place += 1
        # Groups before the one with the last mark were done with, exceptions and all.
        self._done.update(digests[: max(0, last_done) // _AT_ONCE * _AT_ONCE])

    async def _apply(self, group: Sequence[ForkEntry]) -> None:
        """One group, in order, and after it what became of those that no longer fit."""
        entries = [entry for entry in group if entry.digest not in self._done]
        now_ms = await self._store.now_ms()
        todo: list[tuple[ForkEntry, AnyCommand]] = []
        for entry in entries:
            command = self._as_of_now(entry, now_ms)
            if command is not None:
                todo.append((entry, command))
        known = await self._known_events([command for _, command in todo], now_ms)
        conflicts: list[Park] = []
        for run in _runs([(e, c) for e, c in todo if _event(c) not in known]):
            commands = [command for _, command in run]
            for (entry, command), outcome in zip(run, await self._outcomes(commands), strict=True):
                if isinstance(outcome, _REFUSALS):
                    conflicts.append(self._conflict(entry, command, outcome, now_ms))
        if conflicts:
            await self._store.apply_all(conflicts)
        self.applied.commands += len(todo)
        self.applied.conflicts += len(conflicts)

    def _as_of_now(self, entry: ForkEntry, now_ms: int) -> AnyCommand | None:
        """The command as it has to be given now: a hold keeps the deadline it was told."""
        command: AnyCommand = decode_command(entry.command)
        if isinstance(command, _REPAIRS):
            return None
        command = structs.replace(command, forked=entry.digest)
        if isinstance(command, Hold | Replace | Extend):
            told = dict(_reservations(entry)).get(command.reservation_id)
            # One that is over by now lapses when it is next looked at; but what was confirmed in
            # time, a few commands on, was still held then.
            left_ms = told.expires_at - now_ms if told is not None else command.ttl_ms
            if told is not None and isinstance(command, Hold | Replace) and command.allow_partial:
                command = structs.replace(command, lines=_as_held(told), allow_partial=False)
            if command.reservation_id in self._confirmed:
                left_ms = max(left_ms, _CONFIRM_MS)
            command = structs.replace(command, ttl_ms=left_ms)
        if isinstance(command, Replace) and command.key is None:
            command = structs.replace(command, key=f"~{entry.digest[:16]}")
        return command

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
            return await self._store.apply_all(commands)
        outcome: Outcome = Moved()
        for _ in range(_ROUNDS):
            observed: list[Observed] = [commands[0]]
            (whole,) = await merged(observed, self._store, self._ledger)
            if whole is None:
                raise Unavailable("a count can't be merged without the ledger")
            outcome = await self._store.apply(whole)
            if not isinstance(outcome, Moved):
                break
        return [outcome]

    def _conflict(
        self, entry: ForkEntry, command: AnyCommand, outcome: Outcome, now_ms: int
    ) -> Park:
        reservation_id = str(getattr(command, "reservation_id", None) or "")
        order_id = getattr(command, "order_id", None) or self._order_of.get(reservation_id, "")
        kind = str(command.__struct_config__.tag)
        subject = str(order_id or reservation_id or kind)
        of_order = f" (order {order_id})" if order_id else ""
        detail = (
            f"{kind} of {reservation_id or subject}{of_order} was acknowledged by a Redis that is "
            f"lost, and no longer fits: {_words(outcome)}"
        )
        log.error("fork_conflicted", subject=subject, kind=kind, detail=detail)
        return Park(
            source=SOURCE,
            event_id=f"{entry.epoch}:{entry.seq}",
            occurred_at_ms=now_ms,
            reason=REASON,
            owner=OWNER,
            subject=subject,
            detail=detail[:_DETAIL_CHARACTERS],
            payload=msgspec.json.encode(decode_command(entry.command)).decode(),
            forked=entry.digest,
        )


def _runs(
    todo: Sequence[tuple[ForkEntry, AnyCommand]],
) -> list[list[tuple[ForkEntry, AnyCommand]]]:
    """In order; a count by itself, since what came before it has to be in the journal by then."""
    runs: list[list[tuple[ForkEntry, AnyCommand]]] = []
    counted = True
    for entry, command in todo:
        counts = isinstance(command, Count | Snapshot)
        if counts or counted:
            runs.append([])
        runs[-1].append((entry, command))
        counted = counts
    return runs


def _as_held(told: Reservation) -> list[HoldLine]:
    """What a partial hold was told it has: no less will do."""
    return [
        HoldLine(
            line_id=line.line_id,
            sku=line.sku,
            location=line.location,
            quantity=line.reserved,
            safety_stock=line.safety_stock,
        )
        for line in told.lines
        if line.reserved
    ]


def _event(command: AnyCommand) -> tuple[str, str] | None:
    return (command.source, command.event_id) if isinstance(command, Fact) else None


def _reservations(entry: ForkEntry) -> list[tuple[str, Reservation]]:
    images = _decode_images(entry.images)
    return [(name[1:], decode_reservation(image)) for name, image in images if name[0] == "r"]


def _words(outcome: Outcome) -> str:
    match outcome:
        case outcomes.Short(shortages) | outcomes.Lost(shortages):
            return "; ".join(
                f"{s.sku} at {s.location}: {s.requested} wanted, {s.available} left"
                for s in shortages
            )
        case outcomes.TooMany(excesses):
            return "; ".join(
                f"line {e.line_id}: {e.requested} named, {max(0, e.open)} open" for e in excesses
            )
        case outcomes.AlreadyConfirmed(reservation):
            return f"it is confirmed with order {reservation.order_id}"
        case outcomes.WrongStatus(reservation):
            return f"it is {reservation.status}"
        case outcomes.GenerationMismatch(reservation):
            return f"its lines are of generation {reservation.generation}"
        case outcomes.NotFound():
            return "there is no such reservation"
        case outcomes.Reused():
            return "the reservation has other lines"
        case outcomes.Faulted(message):
            return message
        case _:
            return type(outcome).__name__
