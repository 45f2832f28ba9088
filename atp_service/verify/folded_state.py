"""The state that entries fold to: the model's partition, and beside it the images as they lie."""

from collections.abc import Iterator
from itertools import islice

from atp_service.inventory import journal
from atp_service.inventory.journal import DecodedEntry, marks_of
from atp_service.inventory.model import Partition

# The last image of a thing: the seq of the last entry that named it, the image, and whether Redis
# still has it.
LastImage = tuple[int, bytes, bool]

_MARKS_MS = 62 * 86_400_000  # two of the longest windows: Redis keeps no mark for longer
_PRUNED_AT_ONCE = 1_000


class FoldedState:
    """`images` has the last image of everything that ever was, by name.

    `earlier` keeps the images before the last, from when it is a dictionary. `marks` has the dedupe
    marks with the seq and the time (ms) of the entry that left them. `drift` is by how much the
    on_hand of a level is more than the sum of its deltas.
    """

    def __init__(self, partition: int, window_ms: int) -> None:
        self.partition = Partition(partition, window_ms=window_ms)
        self.images: dict[str, LastImage] = {}
        self.earlier: dict[str, list[LastImage]] | None = None
        self.marks: dict[str, tuple[int, int]] = {}
        self.drift: dict[str, int] = {}

    def adopt(self, decoded: DecodedEntry) -> None:
        """The entry's images are the state now, whether they follow or not."""
        seq, partition, images = decoded.entry.seq, self.partition, self.images
        if self.earlier is not None:
            for name, _ in decoded.entry.images:
                if name in images:
                    self.earlier.setdefault(name, []).append(images[name])
        deltas = iter(decoded.head.on_hand_deltas)
        levels = partition.levels
        for key, level in decoded.levels.items():
            before = levels.get(key)
            drift = level.on_hand - (before.on_hand if before else 0) - next(deltas, 0)
            if drift:
                self.drift[key] = self.drift.get(key, 0) + drift
            levels[key] = level
        if decoded.reservations:
            partition.reservations.update(decoded.reservations)
        if decoded.orders:
            partition.orders.update(decoded.orders)
        for name, image in decoded.entry.images:
            if image is None:
                self._let_go(name, seq)
            else:
                images[name] = (seq, image, True)
        for mark in marks_of(decoded.fields, decoded.head):
            self._mark(mark, seq, decoded.head.at_ms)

    def image_as_of(self, name: str, seq: int) -> bytes | None:
        """The image when `seq` was the latest entry; None if there was none. `earlier` must reach
        back to that entry."""
        if name not in self.images:
            return None
        known = [*(self.earlier or {}).get(name, ()), self.images[name]]
        for image_seq, image, in_redis in reversed(known):
            if image_seq <= seq:
                return image if in_redis else None
        return None

    def in_redis(self) -> Iterator[str]:
        """The names of all images that Redis has."""
        return (name for name, (_, _, in_redis) in self.images.items() if in_redis)

    def _let_go(self, name: str, seq: int) -> None:
        """Redis has nothing under the name any more."""
        known, key = self.images.get(name), name[1:]
        if known is not None:
            self.images[name] = (seq, known[1], False)
        match name[0]:
            case journal.LEVEL:
                self.partition.levels.pop(key, None)
                self.drift.pop(key, None)
            case journal.RESERVATION:
                self.partition.reservations.pop(key, None)
            case journal.ORDER:
                self.partition.orders.pop(key, None)

    def _mark(self, mark: str, seq: int, at_ms: int) -> None:
        marks = self.marks
        marks.pop(mark, None)  # so that the oldest come first
        marks[mark] = (seq, at_ms)
        if seq % _PRUNED_AT_ONCE == 0:
            oldest = islice(marks.items(), 2 * _PRUNED_AT_ONCE)
            for old in [old for old, (_, at) in oldest if at < at_ms - _MARKS_MS]:
                del marks[old]
