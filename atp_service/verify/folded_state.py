"""The state that entries fold to: the model's partition, and beside it the images as they lie."""

from collections.abc import Iterable, Mapping
from typing import Any

from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, DecodedEntry, decode_images
from atp_service.inventory.model import Partition
from atp_service.inventory.reservations import Order, Reservation, decode_order, decode_reservation
from atp_service.inventory.stock import decode_level
from atp_service.postgres.binary import millis

LONGEST_WINDOW_MS = 31 * 86_400_000  # what may be set for how long closed things are remembered


class Forgetful(dict[str, Any]):
    """Notes what the model forgets: the script may have done so sooner or later."""

    def __init__(self, changes: "list[tuple[Forgetful, str, Any]]") -> None:
        self._changes = changes

    def pop(self, name: str, *_: Any) -> Any:
        before = super().pop(name, None)
        self._changes.append((self, name, before))
        return before

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._changes.append((self, name, self.get(name)))
        super().__setitem__(name, value)

    def put_back(self, name: str, before: Any) -> None:
        if before is None:
            super().pop(name, None)
        else:
            super().__setitem__(name, before)


class State:
    """`images` has the last image of everything that ever was, with its entry's seq.

    `earlier` keeps the images before the last, from when it is asked for.
    `early_until` says until when an order that isn't confirmed is remembered.
    """

    def __init__(self, partition: int, window_ms: int) -> None:
        self.partition = Partition(partition, window_ms=window_ms)
        self._changes: list[tuple[Forgetful, str, Any]] = []
        self.partition.levels = Forgetful(self._changes)
        self.partition.reservations = Forgetful(self._changes)
        self.partition.orders = Forgetful(self._changes)
        self.images: dict[str, tuple[int, bytes]] = {}
        self.earlier: dict[str, list[tuple[int, bytes]]] | None = None
        self.early_until: dict[str, int] = {}
        self.at_ms = 0
        self._forget_at_size = 100_000

    def begin_after(self, earlier: Iterable[tuple[int, int, bytes]]) -> None:
        """Take over what earlier entries came to, without looking at how. `seq, at, images`."""
        images, early_until, at_ms = dict[str, tuple[int, bytes]](), dict[str, int](), 0
        for seq, at, packed in earlier:
            at_ms = millis(at)
            for name, image in decode_images(packed):
                if image is None:
                    continue
                images[name] = (seq, image)
                if name[0] == ORDER:
                    until = at_ms + self.partition.window_ms
                    note_order(early_until, name[1:], decode_order(image), until)
        self.take_over(images, early_until, at_ms)

    def take_over(
        self,
        images: Mapping[str, tuple[int, bytes]],
        early_until: Mapping[str, int],
        at_ms: int,
    ) -> None:
        """Go on from images that others came to by entries until then."""
        self.images.update(images)
        self.early_until.update(early_until)
        self.at_ms = max(self.at_ms, at_ms)
        partition = self.partition
        for name, (_, image) in images.items():
            kind, key = name[0], name[1:]
            if kind == LEVEL:
                partition.levels[key] = decode_level(image)
            elif kind == RESERVATION:
                reservation = decode_reservation(image)
                if not self._is_long_closed(reservation):
                    partition.reservations[key] = reservation
            else:
                order = partition.orders[key] = decode_order(image)
                if order.reservations:
                    self.early_until.pop(key, None)
        self.let_be()

    def adopt(self, reading: DecodedEntry) -> None:
        """The entry's images are what is there now, whether they follow or not."""
        seq, partition, images = reading.entry.seq, self.partition, self.images
        self.at_ms = reading.head.at_ms
        if self.earlier is not None:
            for name in images.keys() & {name for name, _ in reading.entry.images}:
                self.earlier.setdefault(name, []).append(images[name])
        for name, image in reading.entry.images:
            if image is not None:
                images[name] = (seq, image)
        partition.levels.update(reading.levels)
        if reading.reservations:
            partition.reservations.update(reading.reservations)
        if reading.orders:
            partition.orders.update(reading.orders)
            for order_id, order in reading.orders.items():
                until = self.at_ms + partition.window_ms
                note_order(self.early_until, order_id, order, until)
        self._changes.clear()
        if len(partition.reservations) > self._forget_at_size:
            self._forget()

    def let_be(self) -> None:
        """What the model has forgotten so far is forgotten."""
        self._changes.clear()

    def put_back(self) -> None:
        """The state as it was after the entry before."""
        while self._changes:
            kept, name, before = self._changes.pop()
            kept.put_back(name, before)

    def image_as_of(self, name: str, seq: int) -> bytes | None:
        """The image when `seq` was the latest entry; as far back as earlier ones are kept."""
        if name not in self.images:
            return None
        known = [*(self.earlier or {}).get(name, ()), self.images[name]]
        return next((image for image_seq, image in reversed(known) if image_seq <= seq), None)

    def may_be_forgotten(self, reservation_id: str, now_ms: int) -> bool:
        """Whether the script may have forgotten the reservation by then."""
        reservation = self.partition.reservations.get(reservation_id)
        return reservation is None or (
            reservation.closed_at > 0
            and reservation.status not in ("held", "confirmed")
            and reservation.closed_at + self.partition.window_ms <= now_ms
        )

    def _is_long_closed(self, reservation: Reservation) -> bool:
        closed = reservation.status not in ("held", "confirmed")
        return closed and reservation.closed_at + LONGEST_WINDOW_MS < self.at_ms

    def _forget(self) -> None:
        """Closed so long ago that no setting remembers it."""
        kept = self.partition.reservations
        for name in [name for name, known in kept.items() if self._is_long_closed(known)]:
            kept.pop(name)
        self.let_be()
        self._forget_at_size = max(self._forget_at_size, 2 * len(kept))


def note_order(early_until: dict[str, int], order_id: str, order: Order, until: int) -> None:
    """Until when an order is remembered that was sold for and isn't confirmed."""
    if order.reservations:
        early_until.pop(order_id, None)
    elif len(order.early) == 1:
        early_until[order_id] = until
