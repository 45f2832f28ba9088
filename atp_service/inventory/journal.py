"""Journal entries: what happened, the command behind it, and everything it touched, afterwards.

An entry is one message of the Redis stream, id `<seq>-0`. Its fields are `e` and `d`, the digest.
`e` is one msgpack array: the command as it was sent, the head, then names and after-images in turn:
`l<sku>\\x1f<location>`, `r<reservation id>`, `o<order id>`, each with the value Redis now keeps
under that name; nil where it keeps none any more.

An entry tells everything that its command changed, so a partition in Redis is a function of its
journal (`inventory/fold.py`). Two things are outside: when a feed was last heard (a heartbeat
writes no entry), and when the window of marks was rotated.
"""

from collections.abc import Sequence
from hashlib import sha1
from struct import Struct as Layout
from typing import Final, Literal

from msgspec import DecodeError, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from atp_service.inventory.commands import AnyCommand
from atp_service.inventory.reservations import Order, Reservation, decode_order, decode_reservation
from atp_service.inventory.stock import SEPARATOR, StockLevel, decode_level

# An image's name is one letter for its kind, then its key: `LEVEL + level_field(sku, location)`.
LEVEL: Final = "l"
RESERVATION: Final = "r"
ORDER: Final = "o"
KINDS: Final = frozenset((LEVEL, RESERVATION, ORDER))

UNREADABLE: Final = (DecodeError, UnicodeDecodeError)
"""The errors of decoding a damaged value: text that is no UTF-8 raises no DecodeError."""

ImageName = str
Image = bytes | None  # None: nothing is kept under the name any more
Images = Sequence[tuple[ImageName, Image]]


class Notice(Struct, array_like=True, frozen=True):
    """Something a person should look at: opened, or settled by itself."""

    kind: str  # of notices.OWNERS
    sku: str
    location: str
    reference: str  # the document, state or order; empty where there is none
    units: int


FactStatus = Literal["", "absorbed"]
RULES: Final = 1
"""The rules of the script and the model here; each entry names those that decided it."""
FORMAT: Final = 1
"""How Redis keeps its values and entries; `{p}meta` names it, and the script refuses callers that
write another."""


class Head(Struct, array_like=True, frozen=True):
    """`on_hand_deltas` stand in the order of the level images; empty when all are 0.

    `status` is "absorbed" if a fact has changed no stock: a later count or document says it.
    `marks` are the dedupe marks that do not follow from the command (shipments, callers' keys).
    """

    epoch: int
    at_ms: int
    kind: str  # the command's type
    rules: int  # that decided
    on_hand_deltas: list[int] = []
    opened: list[Notice] = []
    settled: list[Notice] = []
    noted: list[Notice] = []  # for the record: what a snapshot differed by
    status: FactStatus = ""
    marks: list[str] = []

    @property
    def event_status(self) -> str:
        """The status of the event behind the entry: `applied`, `absorbed` or `parked`."""
        return "parked" if self.kind == "park" else self.status or "applied"


class CommandFields(Struct, frozen=True, gc=False):
    """A command's fields that other parts ask for, whichever command it is; the rest is skipped.

    So a command of another version can be read as well. `lines` is msgpack, empty if it has none.
    """

    source: str | None = None
    event_id: str | None = None
    occurred_at_ms: int | None = None
    sku: str | None = None
    location: str | None = None
    quantity: int | None = None
    reservation_id: str | None = None
    order_id: str | None = None
    shipment_id: str | None = None
    document: str | None = None
    erp_document: str | None = None
    disposition: str | None = None
    channel: str | None = None
    terms_channel: str | None = None
    reason: str | None = None
    line_id: str | None = None
    key: str | None = None
    traceparent: str | None = None
    forked: str | None = None
    lines: Raw = Raw()


class Entry(Struct, frozen=True):
    """One entry, taken apart but not yet decoded: images are the raw bytes."""

    seq: int
    command: bytes
    head: bytes
    digest: str
    images: Images

    def digest_after(self, previous: str) -> str:
        """What the digest must be, if this entry follows one whose digest was `previous`."""
        content = previous.encode() + b"%d-0" % self.seq + self.body()
        return sha1(content, usedforsecurity=False).hexdigest()

    def body(self) -> bytes:
        """The entry's field `e`."""
        return body_of(self.command, self.head, self.images)

    def keys(self, kind: str) -> list[str]:
        """The keys of its images of one kind, in order."""
        return [name[1:] for name, _ in self.images if name[:1] == kind]


class DecodedEntry(Struct, frozen=True, gc=False):
    """An entry with its values by key, in the order of its images; what is gone is not among them.

    `command` is None if it is not asked for, or can't be read: another version has written it. Its
    `fields` can be read all the same.
    """

    entry: Entry
    head: Head
    command: AnyCommand | None
    fields: CommandFields
    levels: dict[str, StockLevel]
    reservations: dict[str, Reservation]
    orders: dict[str, Order]

    @property
    def seq(self) -> int:
        return self.entry.seq

    @property
    def deltas(self) -> list[int]:
        """By how many units each level's on_hand changed, in the order of `levels`."""
        return self.head.on_hand_deltas or [0] * len(self.levels)


decode_head = Decoder(Head).decode
decode_fields = Decoder(CommandFields).decode
# A list of images in one value, as the ledger and a saved fork keep them.
encode_images = Encoder().encode
decode_images = Decoder(list[tuple[ImageName, Image]]).decode
encode_name = Encoder().encode
_decode_body = Decoder(list[Raw]).decode
_decode_name = Decoder(str).decode
_begin_array = Layout(">BH").pack  # as the script writes it, with so many elements
_NIL: Final = b"\xc0"


def decode_entry(entry: Entry, command: AnyCommand | None) -> DecodedEntry:
    """The entry with its head and images decoded. Raises ValueError if one of them can't be read,
    or if an image is of no known kind."""
    levels: dict[str, StockLevel] = {}
    reservations: dict[str, Reservation] = {}
    orders: dict[str, Order] = {}
    for name, image in entry.images:
        kind, key = name[:1], name[1:]
        if kind not in KINDS:
            raise ValueError(f"an image of {name!r}")
        if image is None:
            continue
        if kind == LEVEL:
            levels[key] = decode_level(image)
        elif kind == RESERVATION:
            reservations[key] = decode_reservation(image)
        elif kind == ORDER:
            orders[key] = decode_order(image)
    head, fields = decode_head(entry.head), decode_fields(entry.command)
    return DecodedEntry(entry, head, command, fields, levels, reservations, orders)


def marks_of(fields: CommandFields, head: Head) -> list[str]:
    """The dedupe marks that an entry has left in `{p}seen`."""
    if fields.source is None or fields.event_id is None:
        return head.marks
    return [event_mark(fields.source, fields.event_id), *head.marks]


def event_mark(source: str, event_id: str) -> str:
    return f"e{source}{SEPARATOR}{event_id}"


def image_of(images: bytes, name: ImageName) -> Image:
    """The value of one name in an encoded list of images; None if it is gone or not among them."""
    return dict(decode_images(images)).get(name)


def entry_from_stream(message_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from XRANGE's reply."""
    command, head, *images = _decode_body(fields[1])
    return Entry(
        seq=int(message_id.partition(b"-")[0]),
        command=bytes(command),
        head=bytes(head),
        digest=fields[-1].decode(),
        images=[
            (_decode_name(name), None if value == _NIL else value)
            for name, value in zip(images[::2], map(bytes, images[1::2]), strict=True)
        ],
    )


def body_of(command: bytes, head: bytes, images: Images) -> bytes:
    """An entry's field `e`, of its parts."""
    parts = [begin_body(len(images)), command, head]
    for name, image in images:
        parts += (encode_name(name), _NIL if image is None else image)
    return b"".join(parts)


def begin_body(images: int) -> bytes:
    """How the field begins if an entry has so many images."""
    return _begin_array(0xDC, 2 + 2 * images)
