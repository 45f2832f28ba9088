"""Each command once more, with the model: what its entry must have come to.

Only what leaves an entry is in the ledger. What the script knew beside it – that a closed
reservation has been forgotten, that a shipment has left before – the model is told anew where an
entry follows only so, and only within what can have been.
"""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from msgspec.structs import replace

from atp_service.inventory.commands import (
    Fulfil,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    Sale,
    Shipment,
    decode_command,
)
from atp_service.inventory.journal import DecodedEntry
from atp_service.inventory.model import ModelEntry
from atp_service.inventory.model.batch import HANDLERS
from atp_service.inventory.model.stock import Batch, shipment_key
from atp_service.inventory.reservations import Order
from atp_service.inventory.stock import level_field
from atp_service.ledger.read.raw_entries import Earlier
from atp_service.verify.differences import differences
from atp_service.verify.findings import Check
from atp_service.verify.folded_state import LONGEST_WINDOW_MS, FoldedState

_Pasts = Generator[None, None, None]


class _Appended(Exception):
    """The entry is made; what the caller would have been told is of no interest."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry


class _Trial(Batch):
    """Nothing of it is kept: the ledger's own images are what the next command sees."""

    def keep(self, entry: ModelEntry) -> None:
        raise _Appended(entry)


class Reexecution:
    """Re-executes commands on the state that entries have folded to so far."""

    check: Check = "model"

    def __init__(self, state: FoldedState, earlier: Earlier) -> None:
        self._state = state
        self._earlier = earlier
        self._trial = _Trial(state.partition, 0, False)
        self._trial.due = []  # what was reaped has entries of its own
        # By the names of images that do not follow: what they should have been.
        self.expected: dict[str, Any] = {}

    def differences(self, decoded: DecodedEntry) -> list[tuple[str, str]]:
        """How the entry differs from what its command comes to: names of images, and words.

        Nothing if it follows. The state is as before.
        """
        made = self._execute(decoded)
        follows = _follows(decoded, made)
        if not follows:
            with closing(self._other_pasts(decoded)) as pasts:
                for _ in pasts:
                    follows = _follows(decoded, self._execute(decoded))
                    self._state.put_back()
                    if follows:
                        break
        if self.expected:
            for name, _ in decoded.entry.images:
                self.expected.pop(name, None)
        if follows:
            return []
        if isinstance(made, ModelEntry):
            for what, images in (("l", made.levels), ("r", made.reservations), ("o", made.orders)):
                self.expected |= {f"{what}{key}": image for key, image in images.items()}
        return differences(decoded, made)

    def _execute(self, decoded: DecodedEntry) -> ModelEntry | str:
        """The entry that the command leaves; why it leaves none, where it doesn't."""
        trial = self._trial
        trial.now = decoded.head.at_ms
        trial.partition.seq = decoded.entry.seq - 1
        trial.begin()
        try:
            outcome = HANDLERS[decoded.head.kind](trial, decoded.command)
        except _Appended as appended:
            return appended.entry
        except Exception as fault:  # whatever was made of the entry: it is told
            return f"can't be executed: {fault!r}"
        return f"leaves no entry: {type(outcome).__name__.lower()}"

    def _other_pasts(self, decoded: DecodedEntry) -> _Pasts:
        """The state, as it may have been too; each is undone by whoever asks for the next."""
        state, partition = self._state, self._state.partition
        state.put_back()
        if self.expected:
            # An entry that was changed later does not change what came after it.
            self._undo_fault()
            yield
        if decoded.orders:
            if self._forget_as_shown(decoded):
                yield
            if self._forget_early(decoded):
                yield
        if isinstance(decoded.command, RepairLevel | RepairReservation | RepairOrder):
            yield from self._damaged(decoded.command)
        if isinstance(decoded.command, Fulfil) and decoded.command.shipment_id:
            partition.seen = self._shipped(decoded, decoded.command)
            try:
                if partition.seen:
                    yield
            finally:
                partition.seen = set()
        window_ms = partition.window_ms
        try:
            for other in (LONGEST_WINDOW_MS, 0):  # the setting may have been another
                partition.window_ms = other
                yield
        finally:
            partition.window_ms = window_ms

    def _undo_fault(self) -> None:
        partition = self._state.partition
        kept: dict[str, Any] = {
            "l": partition.levels,
            "r": partition.reservations,
            "o": partition.orders,
        }
        for name, image in self.expected.items():
            kept[name[0]][name[1:]] = image

    def _forget_as_shown(self, decoded: DecodedEntry) -> bool:
        """An order no longer names reservations that were forgotten."""
        state, now = self._state, decoded.head.at_ms
        changed = False
        for order_id, shown in decoded.orders.items():
            known = state.partition.orders.get(order_id)
            if known is None:
                continue
            kept = [name for name in known.reservations if name in shown.reservations]
            gone = [name for name in known.reservations if name not in shown.reservations]
            if gone and all(state.may_be_forgotten(name, now) for name in gone):
                if kept:
                    state.partition.orders[order_id] = Order(kept, known.early)
                else:
                    del state.partition.orders[order_id]
                changed = True
        return changed

    def _forget_early(self, decoded: DecodedEntry) -> bool:
        """An order that was sold for and never confirmed is forgotten in the end."""
        state, now = self._state, decoded.head.at_ms
        over = [
            order_id
            for order_id in decoded.orders
            if state.early_until.get(order_id, now + 1) <= now
            and order_id in state.partition.orders
        ]
        for order_id in over:
            del state.partition.orders[order_id]
        return bool(over)

    def _damaged(self, command: RepairLevel | RepairReservation | RepairOrder) -> _Pasts:
        """What the repair found in Redis, where no entry tells of it: other values, a place in a
        list or a deadline without anything behind it; or what can't be read."""
        partition = self._state.partition
        match command:
            case RepairLevel(sku=sku, location=location):
                key = level_field(sku, location)
                name = f"l{key}"
                _put(partition.levels, key, command.found)
                partition.locations[sku] = [location]
            case RepairOrder(order_id=key):
                name = f"o{key}"
                _put(partition.orders, key, command.found)
                partition.deadlines[name] = 0
            case RepairReservation(reservation_id=key):
                name = f"r{key}"
                known = partition.reservations.get(key) or command.right
                seq = command.found_seq
                found = None if known is None or seq is None else replace(known, seq=seq)
                _put(partition.reservations, key, found)
                partition.deadlines[name] = 0
        try:
            yield
            partition.damaged = {name}
            yield
        finally:
            partition.damaged = set()
            partition.locations.clear()
            partition.deadlines.clear()

    def _shipped(self, decoded: DecodedEntry, command: Fulfil) -> set[str]:
        """The lines that earlier entries have sent with the same shipment: they don't go again."""
        reservation = self._state.partition.reservations.get(command.reservation_id)
        shipment_id = command.shipment_id or ""
        seen = set()
        for packed in self._earlier(shipment_id, decoded.entry.seq):
            other = decode_command(packed)
            for line in reservation.lines if reservation else ():
                origin = command.location or line.location
                key = shipment_key(shipment_id, line.sku, origin, command.reservation_id)
                if isinstance(other, Sale | Shipment):
                    left = (other.sku, other.location) == (line.sku, origin)
                elif isinstance(other, Fulfil):
                    named = other.lines is None or line.line_id in {
                        units.line_id for units in other.lines
                    }
                    from_here = (other.location or line.location) == origin
                    left = named and from_here and other.reservation_id == command.reservation_id
                else:
                    left = False
                if left and getattr(other, "shipment_id", None) == shipment_id:
                    seen.add(key)
        return seen


def _follows(decoded: DecodedEntry, made: ModelEntry | str) -> bool:
    if isinstance(made, str):
        return False
    head = decoded.head
    return (
        made.levels == decoded.levels
        and made.reservations == decoded.reservations
        and made.orders == decoded.orders
        and made.on_hand_deltas == head.on_hand_deltas
        and made.opened == head.opened
        and made.settled == head.settled
        and made.noted == head.noted
        and made.kind == head.kind
        # The deltas stand in the order of the levels.
        and (len(made.levels) < 2 or list(made.levels) == list(decoded.levels))
    )


def _put(kept: Any, name: str, value: Any) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value
