"""The run as the ledger has it: its entries, folded from the first to the last.

No figure here comes from a number that the service computed. Levels and reservations are followed
image by image, and each step must keep all units.
"""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field

from atp_service.inventory.journal import (
    LEVEL,
    RESERVATION,
    Head,
    Images,
    decode_fields,
    decode_head,
    decode_images,
)
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level, split_field
from atp_service.rehearse.run_names import RunNames

LevelKey = tuple[str, str]  # SKU, location
Figures = tuple[int, int, int]  # on_hand, reserved, allocated
Finding = tuple[str, int]  # a sentence, and the units or effects that it is about
Row = tuple[int, bytes, bytes, bytes]  # an entry's seq, command, head and images

_FIGURES = ("on_hand", "reserved", "allocated")


class FoldedLevel(Struct):
    """One level after the last entry.

    `beyond` is the most units that were ever promised beyond what was there. `left` has the units
    that could still be sold after each entry: (Unix milliseconds, units).
    """

    level: StockLevel = field(default_factory=StockLevel)
    beyond: int = 0
    left: list[tuple[int, int]] = []

    @property
    def figures(self) -> Figures:
        return _figures(self.level)


class FoldedReservation(Struct):
    """One reservation after the last entry.

    `first` has the units by SKU of its first hold; `effects` counts the entries of its own
    commands by kind.
    """

    first: Counter[str]
    now: Reservation
    image: bytes
    effects: Counter[str] = field(default_factory=Counter)


class LedgerFold(Struct, kw_only=True):
    """The run's entries, added up; `faults` are the steps that did not keep all units.

    `events` counts the entries of each event by source and id.
    """

    entries: int = 0
    levels: dict[LevelKey, FoldedLevel] = {}
    reservations: dict[str, FoldedReservation] = {}
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[Finding] = []

    def figures_of(self, key: LevelKey) -> Figures:
        """The figures of a level; zeros for one without entries."""
        return self.levels[key].figures if key in self.levels else (0, 0, 0)


def fold(rows: Iterable[Row], names: RunNames) -> LedgerFold:
    """The entries of one run, added up; entries of others are skipped."""
    folded = LedgerFold()
    for seq, command_bytes, head_bytes, images_bytes in rows:
        images = decode_images(images_bytes)
        command = decode_fields(command_bytes)
        ours = command.source in (names.till, names.warehouse)
        if ours or any(names.are_in(name[1:]) for name, _ in images):
            folded.entries += 1
            head = decode_head(head_bytes)
            if ours and head.kind != "park" and command.source and command.event_id:
                folded.events[command.source, command.event_id] += 1
            _apply(folded, seq, head, images, command.reservation_id)
    return folded


def units_of(reservation: Reservation) -> Counter[str]:
    """Its units by SKU: held, promised for an order, or sent."""
    units: Counter[str] = Counter()
    for line in reservation.lines:
        units[line.sku] += line.open + line.fulfilled
    return units


def _apply(
    folded: LedgerFold, seq: int, head: Head, images: Images, reservation_id: str | None
) -> None:
    """Put an entry's images in place of those before. What the levels gained must be the entry's
    own change of on_hand, and what the reservations gained."""
    gained: Counter[tuple[str, LevelKey]] = Counter()
    steps: list[tuple[LevelKey, StockLevel, StockLevel]] = []
    deltas = iter(head.on_hand_deltas)
    for name, image in images:
        kind, key = name[0], name[1:]
        if image is None:
            continue
        if kind == LEVEL:
            level_key, after = split_field(key), decode_level(image)
            gained["on_hand", level_key] += next(deltas, 0)
            level = folded.levels.setdefault(level_key, FoldedLevel())
            steps.append((level_key, level.level, after))
            level.level = after
            level.beyond = max(level.beyond, -after.atf)
            level.left.append((head.at_ms, after.atf))
        elif kind == RESERVATION:
            reservation = decode_reservation(image)
            known = folded.reservations.get(key)
            for version, sign in ((reservation, 1), (known.now if known else None, -1)):
                for line in version.lines if version else ():
                    gained["reserved", (line.sku, line.location)] += sign * line.reserved
                    gained["allocated", (line.sku, line.location)] += sign * line.allocated
            if known is None:
                known = FoldedReservation(units_of(reservation), reservation, image)
                folded.reservations[key] = known
            known.now, known.image = reservation, image
            known.effects[head.kind] += reservation_id == key
    for level_key, before, after in steps:
        at = f"{level_key[0]} at {level_key[1]}"
        if missing := after.version - before.version - 1:
            folded.faults.append((f"entry {seq}: {at} skips {missing} versions", abs(missing)))
        for name, was, now in zip(_FIGURES, _figures(before), _figures(after), strict=True):
            moved, expected = now - was, gained[name, level_key]
            if moved != expected:
                words = f"entry {seq}: {name} of {at} moved by {moved}, not {expected}"
                folded.faults.append((words, abs(moved - expected)))


def _figures(level: StockLevel) -> Figures:
    return level.on_hand, level.reserved, level.allocated
