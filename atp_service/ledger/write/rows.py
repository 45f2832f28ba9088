"""The rows that follow from an entry, and from the last image of a thing.

Values are packed as Postgres receives them, in the order of the columns in `ledger/tables.py`. The
recorder writes these rows, and a verifier compares them.
"""

from functools import lru_cache
from itertools import chain, repeat

import msgspec

from atp_service.inventory.commands import Park, Snapshot
from atp_service.inventory.journal import (
    ORDER,
    RESERVATION,
    DecodedEntry,
    Entry,
    Head,
    encode_images,
)
from atp_service.inventory.reservations import Standing
from atp_service.inventory.stock import StockLevel, split_field
from atp_service.ledger import tables
from atp_service.ledger.write.exceptions import detail_of, key_of_park
from atp_service.postgres.binary import (
    bigint,
    blob,
    boolean,
    integer,
    json,
    micros,
    pack_row,
    text,
    timestamp,
)

Values = tuple[bytes, ...]

# Numbers, each with its length before it: the beginning of a row.
_begin_entry = tables.ENTRIES.packer()
_begin_movement = tables.MOVEMENTS.packer()
_begin_event = tables.EVENTS.packer()
_begin_trace = tables.TRACES.packer()
_decode_park = msgspec.msgpack.Decoder(Park).decode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def entry_values(partition: int, entry: Entry, head: Head) -> bytes:
    """An entry's row without the chain, which hashes it."""
    numbers = _begin_entry(partition, entry.seq, head.epoch, micros(head.at_ms))
    texts = (head.kind.encode(), entry.command, entry.head, encode_images(entry.images))
    return b"".join((numbers, *map(blob, texts), blob(entry.digest.encode())))


def movements(partition: int, decoded: DecodedEntry) -> list[bytes]:
    """What the entry did to each level."""
    if not decoded.levels:
        return []
    seq, head = decoded.entry.seq, decoded.head
    at, kind = micros(head.at_ms), _kind(head.kind)
    occurred_at_ms = decoded.fields.occurred_at_ms
    occurred_at = micros(occurred_at_ms) if occurred_at_ms else at
    deltas = chain(head.on_hand_deltas, repeat(0))
    rows = []
    for (key, level), delta in zip(decoded.levels.items(), deltas, strict=False):
        numbers = _begin_movement(
            partition,
            seq,
            level.version,
            delta,
            level.on_hand,
            level.reserved,
            level.allocated,
            level.unavailable if level.extras.states else 0,
            occurred_at,
            at,
        )
        rows.append(numbers + bigint(level.extras.safety_stock) + _place(key) + kind)
    return rows


def events(partition: int, decoded: DecodedEntry) -> list[bytes]:
    """The event behind the entry, if there is one."""
    source, event_id = decoded.fields.source, decoded.fields.event_id
    if source is None or event_id is None:
        return []
    numbers = _begin_event(partition, decoded.entry.seq)
    return [numbers + text(source) + text(event_id) + _kind(decoded.head.event_status)]


def traces(partition: int, decoded: DecodedEntry) -> list[bytes]:
    """All ids that the entry is about: those that its command names, and the reservations and
    orders that it touched."""
    fields = decoded.fields
    refs = {fields.reservation_id, fields.order_id, fields.shipment_id}
    refs |= {fields.document, fields.erp_document}
    refs |= {name[1:] for name, _ in decoded.entry.images if name[0] in (RESERVATION, ORDER)}
    refs |= {reservation.order_id for reservation in decoded.reservations.values()}
    numbers = _begin_trace(partition, decoded.entry.seq)
    return [numbers + ref for ref in {text(ref) for ref in refs if ref}]


def parked(partition: int, decoded: DecodedEntry) -> list[bytes]:
    """The message that the entry has parked, with its exception's key."""
    if decoded.head.kind != "park":
        return []
    park = _decode_park(decoded.entry.command)
    kind, owner, _, _, reference = key_of_park(park)
    return [
        pack_row(
            integer(partition),
            bigint(decoded.entry.seq),
            text(park.source),
            text(park.event_id),
            text(detail_of(park)),
            blob(park.payload.encode()),
            timestamp(decoded.head.at_ms),
            text(kind),
            text(owner),
            text(reference),
        )
    ]


def snapshot_lines(partition: int, decoded: DecodedEntry) -> list[bytes]:
    """The line of a snapshot that the entry has compared."""
    if decoded.head.kind != "snapshot":
        return []
    head, line = decoded.head, _decode_snapshot(decoded.entry.command)
    difference = head.noted[0].units if head.noted else 0
    policy: str = line.policy
    if head.status == "absorbed":
        policy = "outdated"
    elif abs(difference) <= line.tolerance:
        policy = "within"
    return [
        pack_row(
            integer(partition),
            bigint(decoded.entry.seq),
            bigint(line.quantity),
            bigint(difference),
            timestamp(line.occurred_at_ms),
            text(line.source),
            text(line.location),
            text(line.sku),
            text(policy),
        )
    ]


def level_values(
    partition: int, seq: int, key: str, level: StockLevel, image: bytes, folded: int
) -> Values:
    """A level's projection; `folded` is the sum of what moved its on_hand."""
    return (
        integer(partition),
        bigint(seq),
        bigint(level.version),
        bigint(level.moves),
        bigint(level.on_hand),
        bigint(level.reserved),
        bigint(level.allocated),
        bigint(level.unavailable if level.extras.states else 0),
        timestamp(level.updated_at),
        bigint(level.extras.safety_stock),
        *map(text, split_field(key)),
        json(level.extras),
        blob(image),
        bigint(folded),
    )


def reservation_values(
    partition: int, seq: int, key: str, value: Standing, image: bytes, *, in_redis: bool
) -> Values:
    """A reservation's projection."""
    return (
        integer(partition),
        bigint(seq),
        timestamp(value.expires_at or None),
        timestamp(value.closed_at or None),
        text(key),
        _kind(value.status),
        text(value.order_id),
        blob(image),
        boolean(in_redis),
    )


def order_values(partition: int, seq: int, key: str, image: bytes, *, in_redis: bool) -> Values:
    """An order's projection."""
    return (integer(partition), bigint(seq), text(key), blob(image), boolean(in_redis))


@lru_cache(maxsize=65_536)
def _place(key: str) -> bytes:
    """A level's SKU and location."""
    sku, location = split_field(key)
    return text(sku) + text(location)


@lru_cache
def _kind(word: str) -> bytes:
    """One of a few words."""
    return text(word)
