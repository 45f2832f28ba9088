"""The state that entries fold to: the model's partition, and beside it the images as they lie."""

from typing import Any

from atp_service.inventory.journal import DecodedEntry, LatestImages
from atp_service.inventory.model import Partition
from atp_service.inventory.reservations import Order, Reservation

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


class FoldedState:
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
        self.images: LatestImages = {}
        self.earlier: dict[str, list[tuple[int, bytes]]] | None = None
        self.drift: dict[str, int] = {}
        self.early_until: dict[str, int] = {}
        self.at_ms = 0
        self._forget_at_size = 100_000

    def adopt(self, decoded: DecodedEntry) -> None:
        """The entry's images are what is there now, whether they follow or not."""
        seq, partition, images = decoded.entry.seq, self.partition, self.images
        self.at_ms = decoded.head.at_ms
        if self.earlier is not None:
            for name in images.keys() & {name for name, _ in decoded.entry.images}:
                self.earlier.setdefault(name, []).append(images[name])
        deltas = iter(decoded.head.on_hand_deltas)
        for key, level in decoded.levels.items():
            before = partition.levels.get(key)
            drift = level.on_hand - (before.on_hand if before else 0) - next(deltas, 0)
            if drift:
                self.drift[key] = self.drift.get(key, 0) + drift
        for name, image in decoded.entry.images:
            if image is not None:
                images[name] = (seq, image)
        partition.levels.update(decoded.levels)
        if decoded.reservations:
            partition.reservations.update(decoded.reservations)
        if decoded.orders:
            partition.orders.update(decoded.orders)
            for order_id, order in decoded.orders.items():
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
