"""A range of entries folded without executing them: nothing is left out, little is done for each.

Each row is hashed, compared and taken apart on the assumption that all is well. Where it isn't, the
entry is looked at as the careful walk does (links.py, steps.py), which says what is wrong; then the
fold goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1, sha256
from struct import Struct as Layout
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Connection

from atp_service.inventory.journal import (
    DecodedEntry,
    Head,
    begin_body,
    decode_fields,
    encode_name,
)
from atp_service.inventory.reservations import Standing, decode_order, decode_standing
from atp_service.inventory.stock import Extras, decode_level
from atp_service.ledger.read import raw_entries
from atp_service.ledger.write.event_status import MOVING, became
from atp_service.postgres.binary import NULL, bigint, blob, micros, millis, text
from atp_service.verify.append_only_tables import Appended
from atp_service.verify.decoded_entry import UNREADABLE, read, repaired_by, subject
from atp_service.verify.entry_walk import Range, Tell, links_at
from atp_service.verify.exception_rows import Noticed
from atp_service.verify.findings import Findings
from atp_service.verify.folded_state import note_order
from atp_service.verify.hash_chain import Links
from atp_service.verify.transitions import (
    LEGAL,
    NOTHING,
    OTHER_DELTAS,
    Levels,
    other_deltas,
    reservation_step,
)

# Where an entry's row has what: numbers first, then texts after their lengths. The ends are fixed:
# a digest and a chain.
_numbers = Layout(">2x4xi4xq4xq4xqi").unpack_from  # partition, seq, epoch, at, the kind's length
_KIND, _ENDS = 50, 80
_DIGEST, _CHAIN, _HASHED = slice(-76, -36), slice(-32, None), slice(None, -36)
_WHERE, _WHEN = slice(2, 22), slice(34, 46)  # partition and seq; at
_TO_2000 = -micros(0)

# What the rows of other tables begin and end with.
_pack_when = Layout(">iq").pack
_pack_numbers = Layout(">iqiqiqiqiqiq").pack
_MOVEMENT, _EVENT, _TRACE = b"\0\x0e", b"\0\x05", b"\0\x03"
_PLAIN = (0, NULL)  # nothing that can't be sold, no safety stock of its own
_BEGUN = [begin_body(images) for images in range(256)]
_APPLIED = blob(b"applied")

# Few entries are of these kinds, and more follows from them.
_SPECIAL = frozenset(("park", "snapshot", "repair_level", "repair_reservation", "repair_order"))


class _Head(Head, array_like=True, frozen=True, gc=False):
    """Made many times a second, and in no circles."""


class Level(Struct, array_like=True, frozen=True, gc=False):
    """A level's image; what most levels don't have is only made where it is there."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    version: int = 0
    moves: int = 0
    updated_at: int = 0
    extras: Extras | None = None


class First(Struct, frozen=True, gc=False):
    """The first image that a range has of something: who has the range before judges it."""

    seq: int
    kind: str
    at_ms: int
    delta: int
    image: bytes


_decode_level = msgspec.msgpack.Decoder(Level).decode
_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "l": _decode_level,
    "r": decode_standing,
    "o": decode_order,
}


class Fold:
    """What the entries of a range come to, and what in them does not hold.

    `images` has the last image of everything the range touched. A range that is not the first
    keeps in `firsts` what it can't judge by itself. `drift` and `early_until` as in State.
    """

    def __init__(self, span: Range) -> None:
        self.span = span
        self.findings = Findings()
        self.entries = 0
        self.links = Links()
        self.images: dict[str, tuple[int, bytes]] = {}
        self.firsts: dict[str, First] = {}
        self.drift: dict[str, int] = {}
        self.repairs: dict[str, int] = {}
        self.early_until: dict[str, int] = {}
        self.at_ms = 0
        self.appended = Appended(span.partition, span.after)
        self.noticed = Noticed()
        self._is_first = span.after == 0
        self._levels: dict[str, Level] = {}
        self._judge = Levels()

    def begin(self, connection: Connection) -> None:
        """Nothing is known of what the entries before the range came to, but the last one."""
        span = self.span
        if span.after:
            self.links = links_at(connection, span.partition, span.after)

    def go_on(self, connection: Connection, through: int, tell: Tell) -> None:
        """Fold the entries that follow, through the one named."""
        span = self.span
        for lines in raw_entries.entry_lines(connection, span.partition, self.links.seq, through):
            self.take(lines)
            tell(len(lines))

    def take(self, lines: Sequence[bytes]) -> None:
        """The next entries."""
        self.entries += len(lines)
        done = 0
        while done < len(lines):
            done += self._take_sound(lines[done:])
            if done < len(lines):
                reading = self.links.take(raw_entries.row_of(lines[done]), self.findings)
                if reading is not None:
                    self._adopt(reading)
                done += 1
        self.appended.sum_up()

    def _take_sound(self, lines: Sequence[bytes]) -> int:
        """Take entries that continue each other; how many, up to the first that does not.

        All in one function, and rows put together out of the entry's own: each call, and each
        thing made, would be felt a hundred thousand times a second.
        """
        images, levels, links = self.images, self._levels, self.links
        movements, events, traces, *_ = self.appended.rows
        seq, epoch, at = links.seq, links.epoch, links.at
        digest, chained = links.digest, links.chain
        new_hash = sha256().copy  # cheaper than one made anew
        done, begun = 0, False
        try:
            for line in lines:
                _, row_seq, row_epoch, row_at, length = _numbers(line)
                command_at = _KIND + 4 + length
                # A longer text is cut wrongly here, and then the digest is another.
                head_at = command_at + 4 + (line[command_at - 2] << 8 | line[command_at - 1])
                images_at = head_at + 4 + (line[head_at - 2] << 8 | line[head_at - 1])
                kind = line[_KIND - 4 : command_at - 4]
                command, packed = line[command_at : head_at - 4], line[head_at : images_at - 4]
                head = _decode_head(packed)
                named = _decode_images(line[images_at:-_ENDS])
                touched: list[Any] = []
                parts = [digest, b"%d-0" % row_seq, _BEGUN[len(named)], command, packed]
                for name, image in named:
                    parts += (encode_name(name), image)
                    touched.append((name, image, _DECODERS[name[0]](image)))
                told = decode_fields(command)
                at_ms = head.at_ms
                digest_now, chain_now = line[_DIGEST], line[_CHAIN]
                hashed = new_hash()
                hashed.update(chained + line[_HASHED])
                if (
                    row_seq != seq + 1
                    or hashed.digest() != chain_now
                    or sha1(b"".join(parts), usedforsecurity=False).hexdigest()
                    != digest_now.decode()
                    or head.epoch != row_epoch
                    or row_epoch < epoch
                    or row_at < at
                    or at_ms * 1000 - _TO_2000 != row_at
                    or _kind_of(head.kind) != kind
                ):
                    break
                if head.opened or head.settled or head.kind in _SPECIAL:
                    reading = read(raw_entries.row_of(line))
                else:
                    reading = None
                seq, epoch, at, digest, chained = row_seq, row_epoch, row_at, digest_now, chain_now
                done += 1
                begun = True
                if reading is not None:
                    self._adopt(reading)
                    begun = False
                    continue

                where, when = line[_WHERE], line[_WHEN]
                deltas, place, last_level = head.on_hand_deltas, 0, None
                if told.occurred_at_ms:
                    occurred = _pack_when(8, told.occurred_at_ms * 1000 - _TO_2000)
                else:
                    occurred = when
                refs = {told.reservation_id, told.order_id, told.document}
                if told.shipment_id or told.erp_document:
                    refs |= {told.shipment_id, told.erp_document}
                for name, image, thing in touched:
                    what = name[0]
                    if what == "l":
                        delta = deltas[place] if place < len(deltas) else 0
                        place += 1
                        before = levels.get(name)
                        if (
                            before is None
                            or thing.version != before.version + 1
                            or thing.on_hand != before.on_hand + delta
                            or thing.updated_at != at_ms
                            or thing.moves < before.moves + (delta != 0)
                        ):
                            first = First(seq, head.kind, at_ms, delta, image)
                            self._judge_level(name, before, thing, first)
                        levels[name] = thing
                        last_level = image
                        unavailable, safety_stock = (
                            _PLAIN if thing.extras is None else _extras_of(image)
                        )
                        numbers = _pack_numbers(
                            8, thing.version, 8, delta, 8, thing.on_hand,
                            8, thing.reserved, 8, thing.allocated, 8, unavailable,
                        )  # fmt: skip
                        movements.append(
                            b"".join(
                                (
                                    _MOVEMENT, where, numbers, occurred, when,
                                    safety_stock, _place_of(name), kind,
                                )
                            )
                        )  # fmt: skip
                    elif what == "r":
                        known = images.get(name)
                        was = None if known is None else decode_standing(known[1])
                        if (
                            was is None
                            or (was.status, thing.status, thing.generation - was.generation)
                            not in LEGAL
                        ):
                            first = First(seq, head.kind, at_ms, 0, image)
                            self._judge_reservation(name, was, thing, first)
                        refs.add(name[1:])
                        refs.add(thing.order_id)
                    else:
                        until = at_ms + self.span.window_ms
                        note_order(self.early_until, name[1:], thing, until)
                        refs.add(name[1:])
                    images[name] = (seq, image)
                for ref in refs:
                    if ref:
                        traces.append(_TRACE + where + text(ref))
                if told.source is not None and told.event_id is not None:
                    if deltas and head.kind in MOVING:
                        status = _APPLIED
                    else:
                        level = None if last_level is None else decode_level(last_level)
                        status = blob(became(told, head, level).encode())
                    events.append(
                        _EVENT + where + _source_of(told.source) + text(told.event_id) + status
                    )
                if deltas and len(deltas) != place:
                    self._tell(OTHER_DELTAS, seq, head.kind)
                begun = False
        except (*UNREADABLE, LookupError) as fault:
            if begun:
                self._tell(f"can't be told as rows ({fault})", seq, head.kind)
            # Otherwise it is looked at closely, and told then.
        links.seq, links.epoch, links.at, links.digest, links.chain = (
            seq,
            epoch,
            at,
            digest,
            chained,
        )
        self.at_ms = millis(at)
        return done

    def _adopt(self, reading: DecodedEntry) -> None:
        """An entry that is not like most: its images are what is there now, whether they follow
        or not."""
        head, seq, deltas = reading.head, reading.entry.seq, iter(reading.head.on_hand_deltas)
        for name, image in reading.entry.images:
            if image is None:
                continue
            what = name[0]
            if what == "l":
                level, before = _decode_level(image), self._levels.get(name)
                first = First(seq, head.kind, head.at_ms, next(deltas, 0), image)
                self._judge_level(name, before, level, first)
                self._levels[name] = level
            elif what == "r":
                first = First(seq, head.kind, head.at_ms, 0, image)
                known = self.images.get(name)
                was = None if known is None else decode_standing(known[1])
                self._judge_reservation(name, was, decode_standing(image), first)
            else:
                order, until = reading.orders[name[1:]], head.at_ms + self.span.window_ms
                note_order(self.early_until, name[1:], order, until)
            self.images[name] = (seq, image)
        if other_deltas(head, len(reading.levels)):
            self._tell(OTHER_DELTAS, seq, head.kind)
        self.at_ms = head.at_ms
        self.appended.add(reading, self.findings)
        self.noticed.add(reading)
        repaired = repaired_by(reading.command)
        if repaired is not None:
            self.repairs[repaired] = seq

    def _judge_level(self, name: str, before: Level | None, level: Level, first: First) -> None:
        """A level that does not go on from the one before, or has none in this range."""
        if before is None and not self._is_first:
            self.firsts[name] = first
            return
        was = before or NOTHING
        drift = level.on_hand - was.on_hand - first.delta
        if drift:
            self.drift[name[1:]] = self.drift.get(name[1:], 0) + drift
        wrong = self._judge.fault(
            name, was, level, first.delta, first.at_ms, repair=first.kind == "repair_level"
        )
        if wrong:
            self._tell(f"{subject(name)} {wrong}", first.seq, first.kind, (name,))

    def _judge_reservation(
        self, name: str, was: Standing | None, now: Standing, first: First
    ) -> None:
        if was is None and not self._is_first:
            self.firsts[name] = first
            return
        wrong = reservation_step(was, now)
        if wrong and first.kind != "repair_reservation":
            self._tell(f"{subject(name)} {wrong}", first.seq, first.kind, (name,))

    def _tell(self, words: str, seq: int, kind: str, names: tuple[str, ...] = ()) -> None:
        self.findings.add("images", f"entry {seq} ({kind}): {words}", seq, names)

    def join(self, firsts: Mapping[str, First]) -> None:
        """Judge what the range that follows this one could not judge by itself."""
        for name, first in firsts.items():
            if name[0] == "l":
                level, before = _decode_level(first.image), self._levels.get(name)
                self._judge_level(name, before, level, first)
            else:
                known = self.images.get(name)
                was = None if known is None else decode_standing(known[1])
                self._judge_reservation(name, was, decode_standing(first.image), first)


@lru_cache(maxsize=65_536)
def _place_of(name: str) -> bytes:
    sku, _, location = name[1:].encode().partition(b"\x1f")
    return blob(sku) + blob(location)


@lru_cache
def _kind_of(kind: str) -> bytes:
    return blob(kind.encode())


@lru_cache(maxsize=4_096)
def _source_of(source: str) -> bytes:
    return text(source)


def _extras_of(image: bytes) -> tuple[int, bytes]:
    """Units that can't be sold, and the level's own safety stock as a value."""
    level = decode_level(image)
    return level.unavailable, bigint(level.extras.safety_stock)
