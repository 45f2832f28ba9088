"""Journal entries: what happened, the command behind it, and everything it touched, afterwards.

An entry is one message of the Redis stream, id `<seq>-0`. Its fields are `c` (the command, as it
was sent), `h` (the head), `d` (the digest) and the after-images: `l<sku>\\x1f<location>`,
`r<reservation id>`, `o<order id>`, each the value Redis now keeps under that name.
"""

from collections.abc import Sequence
from hashlib import sha1

from msgspec import Struct
from msgspec.msgpack import Decoder

from atp_service.inventory.reservations import (
    Order,
    Reservation,
    decode_order,
    decode_reservation,
)
from atp_service.inventory.stock import StockLevel, decode_level, split_field


class Notice(Struct, array_like=True, frozen=True):
    """Something a person should look at: opened, or settled by itself."""

    # negative-stock, negative-state, transfer-difference, already-fulfilled, snapshot-difference,
    # drift
    kind: str
    sku: str
    location: str
    reference: str  # the document, state or order; empty where there is none
    units: int


class Head(Struct, array_like=True, frozen=True):
    """`on_hand_deltas` stand in the order of the level images; empty when all are 0."""

    epoch: int
    at_ms: int
    kind: str  # the command's type
    on_hand_deltas: list[int] = []
    opened: list[Notice] = []
    settled: list[Notice] = []
    noted: list[Notice] = []  # for the record: what a snapshot differed by


class Entry(Struct, frozen=True):
    """One entry, taken apart but not yet decoded: images are the raw bytes."""

    seq: int
    command: bytes
    head: bytes
    digest: str
    images: list[tuple[str, bytes]]

    def digest_after(self, previous: str) -> str:
        """What the digest must be, if this entry follows one whose digest was `previous`."""
        parts = [previous.encode(), b"%d-0" % self.seq, b"c", self.command, b"h", self.head]
        for name, image in self.images:
            parts += (name.encode(), image)
        return sha1(b"\x1e".join(parts), usedforsecurity=False).hexdigest()

    def levels(self) -> list[tuple[str, str, StockLevel]]:
        return [
            (*split_field(name[1:]), decode_level(image))
            for name, image in self.images
            if name[0] == "l"
        ]

    def reservations(self) -> list[tuple[str, Reservation]]:
        return [(n[1:], decode_reservation(image)) for n, image in self.images if n[0] == "r"]

    def orders(self) -> list[tuple[str, Order]]:
        return [(n[1:], decode_order(image)) for n, image in self.images if n[0] == "o"]


decode_head = Decoder(Head).decode


def entry_from_stream(message_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from XRANGE's reply: fields are c, h, then image names and images, last d."""
    return Entry(
        seq=int(message_id.partition(b"-")[0]),
        command=fields[1],
        head=fields[3],
        digest=fields[-1].decode(),
        images=[(fields[i].decode(), fields[i + 1]) for i in range(4, len(fields) - 2, 2)],
    )
