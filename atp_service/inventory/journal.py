"""Journal entries: what happened, the command behind it, and everything it touched, afterwards.

An entry is one message of the Redis stream, id `<seq>-0`. Its fields are `e` and `d`, the digest.
`e` is one msgpack array: the command as it was sent, the head, then names and after-images in turn:
`l<sku>\\x1f<location>`, `r<reservation id>`, `o<order id>`, each with the value Redis now keeps
under that name.
"""

from collections.abc import Sequence
from hashlib import sha1
from struct import Struct as Layout

from msgspec import Raw, Struct
from msgspec.msgpack import Decoder, Encoder

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
        content = previous.encode() + b"%d-0" % self.seq + self.body()
        return sha1(content, usedforsecurity=False).hexdigest()

    def body(self) -> bytes:
        """The entry's field `e`."""
        return body_of(self.command, self.head, self.images)

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
_decode_body = Decoder(list[Raw]).decode
_decode_name = Decoder(str).decode
encode_name = Encoder().encode
_begin_array = Layout(">BH").pack  # as the script writes it, with so many elements


def entry_from_stream(message_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from XRANGE's reply."""
    command, head, *images = _decode_body(fields[1])
    return Entry(
        seq=int(message_id.partition(b"-")[0]),
        command=bytes(command),
        head=bytes(head),
        digest=fields[-1].decode(),
        images=[
            (_decode_name(name), bytes(image))
            for name, image in zip(images[::2], images[1::2], strict=True)
        ],
    )


def body_of(command: bytes, head: bytes, images: Sequence[tuple[str, bytes]]) -> bytes:
    """An entry's field `e`, of its parts."""
    parts = [begin_body(len(images)), command, head]
    for name, image in images:
        parts += (encode_name(name), image)
    return b"".join(parts)


def begin_body(images: int) -> bytes:
    """How the field begins where an entry has so many images."""
    return _begin_array(0xDC, 2 + 2 * images)
