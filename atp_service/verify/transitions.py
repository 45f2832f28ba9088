"""From one image of a thing to the next: the rules that hold for every command.

A level's version rises by one, and its on_hand by the entry's delta. A reservation goes from status
to status as carts do. Whether the command asked for just that is the question of `reexecution.py`.
"""

from collections.abc import Iterator

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, DecodedEntry
from atp_service.inventory.reservations import Reservation, Status
from atp_service.inventory.retention import is_forgotten
from atp_service.inventory.stock import StockLevel
from atp_service.verify.decoded_entry import has_gone, subject
from atp_service.verify.findings import Check
from atp_service.verify.folded_state import FoldedState

# From status to status, within a generation or into the next one.
_WITHIN: dict[Status, tuple[Status, ...]] = {
    "held": ("held", "confirmed", "fulfilled", "released", "expired"),
    "confirmed": ("confirmed", "fulfilled", "released"),
    "expired": ("expired", "confirmed", "fulfilled", "released"),
    "fulfilled": ("fulfilled",),
    "released": (),
}
_LEGAL = frozenset(
    [(before, after, 0) for before, afters in _WITHIN.items() for after in afters]
    + [("held", "held", 1), ("expired", "held", 1)]
)
_NO_LEVEL = StockLevel()

# The commands by which Redis lets go of something, by its kind.
_LETS_GO = {
    LEVEL: ("repair_level",),
    RESERVATION: ("forget", "repair_reservation"),
    ORDER: ("forget", "repair_order"),
}


class Transitions:
    """Judges entries by their images alone.

    If an entry was changed later, only that entry is at fault: the next ones were made from the
    image that was there. So a level that does not follow is remembered as it should have been.
    """

    check: Check = "images"

    def __init__(self, state: FoldedState) -> None:
        self._state = state
        self.expected: dict[str, StockLevel] = {}

    def differences(self, decoded: DecodedEntry) -> list[tuple[str, str]]:
        """How the entry's images do not follow from those before: their names, and words."""
        head, found = decoded.head, list[tuple[str, str]]()
        deltas, at_ms = head.on_hand_deltas, head.at_ms
        if deltas and len(deltas) != len(decoded.levels):
            found.append(("", "it has more or fewer deltas than levels"))
        levels = self._state.partition.levels
        next_delta = iter(deltas)
        for key, level in decoded.levels.items():
            delta, before = next(next_delta, 0), levels.get(key) or _NO_LEVEL
            if not _follows(before, level, delta, at_ms):
                repair = head.kind == "repair_level"
                wrong = self._level_fault(key, before, level, delta, at_ms, repair=repair)
                if wrong:
                    found.append((f"l{key}", f"{subject(f'l{key}')} {wrong}"))
            elif self.expected:
                self.expected.pop(key, None)
        for key, reservation in decoded.reservations.items():
            wrong = _reservation_fault(self._state.partition.reservations.get(key), reservation)
            if wrong and head.kind != "repair_reservation":
                found.append((f"r{key}", f"{subject(f'r{key}')} {wrong}"))
            if reservation.seq != decoded.entry.seq:
                words = f"has seq {reservation.seq}, should be {decoded.entry.seq}"
                found.append((f"r{key}", f"{subject(f'r{key}')} {words}"))
        if has_gone(decoded):
            found += self._gone_faults(decoded)
        return found

    def _gone_faults(self, decoded: DecodedEntry) -> Iterator[tuple[str, str]]:
        """What Redis has let go of, though it should not: their names, and words."""
        kind, reservations = decoded.head.kind, self._state.partition.reservations
        for name, image in decoded.entry.images:
            if image is not None:
                continue
            if kind not in _LETS_GO[name[0]]:
                yield name, f"{subject(name)} is gone"
            elif kind == "forget" and name[0] == RESERVATION:
                known = reservations.get(name[1:])
                if known is None or not is_forgotten(known, decoded.head.at_ms):
                    yield name, f"{subject(name)} is forgotten before its time"

    def _level_fault(
        self,
        key: str,
        before: StockLevel,
        level: StockLevel,
        delta: int,
        at_ms: int,
        *,
        repair: bool,
    ) -> str:
        """How the level does not follow, in words; a repair need not follow."""
        expected = self.expected.pop(key, None)
        if repair or (expected is not None and _follows(expected, level, delta, at_ms)):
            return ""
        right = StockLevel(
            on_hand=before.on_hand + delta,
            version=before.version + 1,
            moves=before.moves + bool(delta),
            updated_at=at_ms,
        )
        self.expected[key] = right
        wrong = [
            f"{name} {getattr(level, name)}, should be {getattr(right, name)}"
            for name in ("version", "on_hand", "updated_at")
            if getattr(level, name) != getattr(right, name)
        ]
        if level.moves < right.moves:
            wrong.append(f"moves {level.moves}, after {before.moves}")
        return "; ".join(wrong)


def _follows(before: StockLevel, level: StockLevel, delta: int, at_ms: int) -> bool:
    """Whether a level is the next after the one before."""
    return (
        level.version == before.version + 1
        and level.on_hand == before.on_hand + delta
        and level.updated_at == at_ms
        and level.moves >= before.moves + (delta != 0)
    )


def _reservation_fault(before: Reservation | None, now: Reservation) -> str:
    """How the reservation does not follow from the one before, in words; "" if it does."""
    if before is not None:
        step = (before.status, now.status, now.generation - before.generation)
        if step in _LEGAL:
            return ""
    if before is None and now.status == "held" and now.generation == 1:
        return ""
    here = f"{now.status} in generation {now.generation}"
    if before is None:
        return f"{here} from the start"
    return f"{here}, after {before.status} in generation {before.generation}"
