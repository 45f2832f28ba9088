"""From one image of a thing to the next: what an entry must keep to, whatever its command was.

A level's version rises by one, and its on_hand by what the entry says it moved; a reservation goes
from status to status as carts do. Whether the command asked for just that is not looked at here:
see machine.py.
"""

from typing import Protocol

from msgspec import Struct

from atp_service.inventory.journal import DecodedEntry, Head
from atp_service.inventory.reservations import Status
from atp_service.verify.decoded_entry import subject
from atp_service.verify.findings import Check
from atp_service.verify.folded_state import State

OPEN = frozenset[Status](("held", "confirmed"))

# From status to status, within a generation or into the next one.
_WITHIN: dict[Status, tuple[Status, ...]] = {
    "held": ("held", "confirmed", "fulfilled", "released", "expired"),
    "confirmed": ("confirmed", "fulfilled", "released"),
    "expired": ("expired", "confirmed", "fulfilled", "released"),
    "fulfilled": ("fulfilled",),
    "released": (),
}
LEGAL = frozenset(
    [(before, after, 0) for before, afters in _WITHIN.items() for after in afters]
    + [("held", "held", 1), ("expired", "held", 1)]
)


class Counted(Protocol):
    """What of a level is looked at."""

    @property
    def on_hand(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def moves(self) -> int: ...
    @property
    def updated_at(self) -> int: ...


class Promised(Protocol):
    """What of a reservation is looked at."""

    @property
    def status(self) -> Status: ...
    @property
    def generation(self) -> int: ...


class Before(Struct, frozen=True, gc=False):
    """A level that the entries came to, or would have."""

    on_hand: int = 0
    version: int = 0
    moves: int = 0
    updated_at: int = 0


NOTHING = Before()
OTHER_DELTAS = "its deltas are not of its levels"


def other_deltas(head: Head, levels: int) -> bool:
    """Whether an entry's deltas are not one for each level."""
    return len(head.on_hand_deltas) not in (0, levels)


def level_step(before: Counted, level: Counted, delta: int, at_ms: int) -> str:
    """In what the level does not go on from the one before; nothing if it does."""
    wrong = []
    for name, there, right in (
        ("version", level.version, before.version + 1),
        ("on_hand", level.on_hand, before.on_hand + delta),
        ("updated_at", level.updated_at, at_ms),
    ):
        if there != right:
            wrong.append(f"{name} {there}, should be {right}")
    if level.moves < before.moves + bool(delta):
        wrong.append(f"moves {level.moves}, after {before.moves}")
    return "; ".join(wrong)


def reservation_step(before: Promised | None, now: Promised) -> str:
    """In what the reservation does not go on from the one before; nothing if it does.

    A closed one may have been forgotten, and its id be used anew.
    """
    is_new = now.status == "held" and now.generation == 1
    if before is None:
        return "" if is_new else f"{now.status} in generation {now.generation} from the start"
    if (before.status, now.status, now.generation - before.generation) in LEGAL:
        return ""
    if is_new and before.status not in OPEN:
        return ""
    return (
        f"{now.status} in generation {now.generation},"
        f" after {before.status} in generation {before.generation}"
    )


class Levels:
    """Levels from entry to entry. Of an entry that was changed later only it is at fault: what
    came after it was made from what there was.
    """

    def __init__(self) -> None:
        self._otherwise: dict[str, Before] = {}

    def fault(
        self, name: str, before: Counted, level: Counted, delta: int, at_ms: int, *, repair: bool
    ) -> str:
        """In words, in what the level does not go on from the one before; a repair need not."""
        wrong = level_step(before, level, delta, at_ms)
        otherwise = self._otherwise.pop(name, None)
        if not wrong or repair:
            return ""
        if otherwise is not None and not level_step(otherwise, level, delta, at_ms):
            return ""
        moves = before.moves + bool(delta)
        self._otherwise[name] = Before(before.on_hand + delta, before.version + 1, moves, at_ms)
        return wrong


class Steps:
    """Judges entries by their images alone."""

    check: Check = "images"

    def __init__(self, state: State) -> None:
        self._state = state
        self._levels = Levels()

    def differences(self, reading: DecodedEntry) -> list[tuple[str, str]]:
        """How the entry's images do not go on from those before: their names, and words."""
        head, partition, found = reading.head, self._state.partition, []
        deltas = iter(head.on_hand_deltas)
        repair = head.kind == "repair_level"
        for key, level in reading.levels.items():
            name, delta = f"l{key}", next(deltas, 0)
            before: Counted = partition.levels.get(key) or NOTHING
            wrong = self._levels.fault(name, before, level, delta, head.at_ms, repair=repair)
            if wrong:
                found.append((name, f"{subject(name)} {wrong}"))
        for key, reservation in reading.reservations.items():
            known = partition.reservations.get(key)
            wrong = reservation_step(known, reservation)
            if wrong and head.kind != "repair_reservation":
                found.append((f"r{key}", f"{subject(f'r{key}')} {wrong}"))
        if other_deltas(head, len(reading.levels)):
            found.append(("", OTHER_DELTAS))
        return found
