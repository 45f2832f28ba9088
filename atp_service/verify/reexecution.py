"""Each command executed once more, with the model: its entry must be what the model makes of it.

An entry contains everything that its command changed, so the state before it is known. Three things
are not in the ledger: damage that a repair found in Redis, the window as it was set at the time,
and when the window of dedupe marks was rotated. If an entry does not follow, they are tried.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from msgspec.structs import replace

from atp_service.inventory.commands import AnyCommand, RepairLevel, RepairOrder, RepairReservation
from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, RULES, DecodedEntry
from atp_service.inventory.model import ModelEntry
from atp_service.inventory.model.batch import decide
from atp_service.inventory.model.stock import Batch
from atp_service.inventory.reservations import Order, Reservation
from atp_service.verify.decoded_entry import repaired_by
from atp_service.verify.differences import differences
from atp_service.verify.findings import Check
from atp_service.verify.folded_state import FoldedState

# Values that stand in Redis instead of the folded ones, by name; None: nothing. Beside the kinds of
# images there are a SKU's list of locations, and the deadline of an image's name.
_Past = dict[str, Any]
_LOCATIONS: Final = "i"
_DEADLINE: Final = "d"


class _Marks(set[str]):
    """The dedupe marks as Redis may have had them: those since a moment.

    `asked` has the times (ms) of the marks that a command has asked for.
    """

    def __init__(self, state: FoldedState) -> None:
        self._marks = state.marks
        self.since_ms = 0
        self.asked: set[int] = set()

    def __contains__(self, mark: object) -> bool:
        _, at_ms = self._marks.get(mark, (0, -1))  # type: ignore[call-overload]  # a str, always
        if at_ms >= 0:
            self.asked.add(at_ms)
        return bool(at_ms >= self.since_ms)


class Reexecution:
    """Judges entries by executing their commands on the state that entries have folded to so far.

    If an entry was changed later, only that entry is at fault: `expected` has its images as they
    should have been, by name, and the next entries may follow from those.
    """

    check: Check = "model"

    def __init__(self, state: FoldedState) -> None:
        self.expected: dict[str, Any] = {}
        self._partition = state.partition
        self._marks = state.partition.seen = _Marks(state)

    def differences(self, decoded: DecodedEntry) -> list[tuple[str, str]]:
        """How the entry differs from the model's: names of images, and words."""
        rules = decoded.head.rules
        if rules != RULES:
            words = f"was decided by rules {rules}; this release can only execute rules {RULES}"
            return [("", words)]
        self._marks.asked.clear()
        made = self._execute(decoded, {})
        found = differences(decoded, made)
        if found and self._follows_otherwise(decoded):
            found = []
        if self.expected:
            for name, _ in decoded.entry.images:
                self.expected.pop(name, None)
        if found and isinstance(made, ModelEntry):
            for kind, images in (
                (LEVEL, made.levels),
                (RESERVATION, made.reservations),
                (ORDER, made.orders),
            ):
                self.expected |= {kind + key: image for key, image in images.items()}
        return found

    def _execute(self, decoded: DecodedEntry, past: _Past) -> ModelEntry | str:
        """The entry that the command leaves; in words why it leaves none."""
        trial = Batch(self._partition, decoded.head.at_ms, promises_refused=False)
        trial.rotates = False
        trial.seq = decoded.seq - 1
        trial.due = []  # a lapsed hold that was reaped has an entry of its own
        staged: dict[str, dict[str, Any]] = {
            LEVEL: trial.new_levels,
            RESERVATION: trial.new_reservations,
            ORDER: trial.new_orders,
            _LOCATIONS: trial.new_locations,
            _DEADLINE: trial.new_deadlines,
        }
        for name, value in past.items():
            staged[name[0]][name[1:]] = value
        try:
            outcome = decide(trial, decoded.head.kind, decoded.command)
        except Exception as fault:  # whatever a forger has made of the entry: it becomes a finding
            return f"can't be executed: {fault!r}"
        if trial.new_entries:
            return trial.new_entries[0]
        return f"leaves no entry: {type(outcome).__name__.lower()}"

    def _follows_otherwise(self, decoded: DecodedEntry) -> bool:
        """Whether the entry follows from another state that the ledger cannot tell apart."""
        partition, marks = self._partition, self._marks
        rotations = [0, *(at_ms + 1 for at_ms in sorted(marks.asked))]
        window_ms = partition.window_ms
        try:
            for (past, damaged), window, since_ms in product(
                self._pasts(decoded), _windows(decoded, window_ms), rotations
            ):
                partition.window_ms, marks.since_ms, partition.damaged = window, since_ms, damaged
                if not differences(decoded, self._execute(decoded, past)):
                    window_ms = window
                    return True
            return False
        finally:
            partition.window_ms, marks.since_ms, partition.damaged = window_ms, 0, set()

    def _pasts(self, decoded: DecodedEntry) -> Iterator[tuple[_Past, set[str]]]:
        """What may have stood in Redis instead, and what of it could not be read."""
        yield {}, set()
        if self.expected:
            yield dict(self.expected), set()
        name = repaired_by(decoded)
        if name is not None:
            found = self._found(name, decoded.command)
            yield found, set()
            yield found, {name}

    def _found(self, name: str, command: AnyCommand | None) -> _Past:
        """What a repair found: other values, a place in a list or a deadline with nothing behind
        it."""
        match command:
            case RepairLevel(sku=sku, location=location, found=level):
                return {name: level, _LOCATIONS + sku: [location]}
            case RepairOrder(found=order):
                return {name: order, _DEADLINE + name: 0}
            case RepairReservation(reservation_id=key, found_seq=seq):
                known = self._partition.reservations.get(key) or command.right
                found = None if known is None or seq is None else replace(known, seq=seq)
                return {name: found, _DEADLINE + name: 0}
        return {}


def _windows(decoded: DecodedEntry, window_ms: int) -> list[int]:
    """For how long closed things may have been kept at the time, in ms: the entry's images show
    it."""
    at_ms = decoded.head.at_ms
    kept: list[Reservation | Order] = [*decoded.reservations.values(), *decoded.orders.values()]
    shown = (image.kept_until - at_ms for image in kept if image.kept_until > at_ms)
    return list(dict.fromkeys((window_ms, *shown)))
