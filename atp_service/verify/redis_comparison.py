"""Redis beside the fold, exact while selling goes on.

All of Redis is read, while entries come. What differs from the fold is read again, together with
the latest entry's seq; the fold is walked on to that entry, and as of it the two must be equal to
the byte. What Redis forgets without an entry may be missing once its time has passed.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from psycopg import Connection

from atp_service.inventory.reservations import Order, decode_order, decode_reservation
from atp_service.inventory.stock import SEPARATOR, decode_level, split_field
from atp_service.ledger import Ledger
from atp_service.store import Partition
from atp_service.store.scan import Moment
from atp_service.verify.decoded_entry import subject
from atp_service.verify.differences import members
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.findings import Findings

_AT_ONCE = 1_000
_DOUBTS_AT_ONCE = 200
_PATIENCE_SECONDS = 30.0  # for the recorder
_NOBODY = "…"
_HASHES: tuple[tuple[Literal["stock", "reservations", "orders"], str], ...] = (
    ("stock", "l"),
    ("reservations", "r"),
    ("orders", "o"),
)
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode
_DECODERS = {"l": decode_level, "r": decode_reservation, "o": decode_order}


class RedisComparison:
    """One partition's Redis beside its walk.

    Names are those of images (`l…`, `r…`, `o…`); `s<sku>` is a SKU's list of locations, and
    `d<member>` a deadline.
    """

    def __init__(
        self, walk: EntryWalk, connection: Connection, partition: Partition, ledger: Ledger
    ) -> None:
        self._walk = walk
        self._state = walk.state
        self._connection = connection
        self._redis = partition.walk()
        self._ledger = ledger
        self._state.earlier = {}

    async def run(self, findings: Findings) -> int:
        """How many values Redis has; those that differ become findings.

        Raises the store's Unavailable or Fenced, and the ledger's Unavailable where the recorder
        does not get on.
        """
        try:
            count, doubts = await self._look()
            for first in range(0, len(doubts), _DOUBTS_AT_ONCE):
                await self._look_closely(doubts[first : first + _DOUBTS_AT_ONCE], findings)
        finally:
            await self._redis.close()
        return count

    async def _look(self) -> tuple[int, list[str]]:
        """How many values there are, and the names of those that may differ."""
        state, doubts, count = self._state, list[str](), 0
        unseen = dict.fromkeys(state.images)
        places = dict[str, set[str]]()
        for name in state.partition.levels:
            sku, location = split_field(name)
            places.setdefault(sku, set()).add(location)
        for kept, prefix in _HASHES:
            cursor = 0
            while True:
                cursor, found = await self._redis.scan(kept, cursor, _AT_ONCE)
                for field, value in found:
                    count += 1
                    key = field.decode(errors="replace")
                    if prefix == "l" and SEPARATOR not in key:
                        if _locations(value) != sorted(places.pop(key, ())):
                            doubts.append(f"s{key}")
                        continue
                    name = prefix + key
                    known = state.images.get(name)
                    if known is None or known[1] != value:
                        doubts.append(name)
                    unseen.pop(name, None)
                if not cursor:
                    break
        count += await self._look_at_deadlines(doubts)
        doubts += (f"s{sku}" for sku in places)
        # Most reservations that ever were are closed and forgotten: they are not looked for.
        doubts += (
            name
            for name in unseen
            if name[0] != "r" or not self._state.may_be_forgotten(name[1:], state.at_ms)
        )
        return count, list(dict.fromkeys(doubts))

    async def _look_at_deadlines(self, doubts: list[str]) -> int:
        state, count = self._state, 0
        due = {
            f"r{name}": at_ms
            for name in state.partition.reservations
            if (at_ms := self._due(f"r{name}", self._image(f"r{name}"))) is not None
            and not state.may_be_forgotten(name, state.at_ms)
        }
        due |= {f"o{name}": at_ms for name, at_ms in state.early_until.items()}
        cursor = 0
        while True:
            cursor, found = await self._redis.scan_deadlines(cursor, _AT_ONCE)
            for raw, score in found:
                count += 1
                member = raw.decode(errors="replace")
                if due.pop(member, None) != score:
                    doubts.append(f"d{member}")
            if not cursor:
                break
        doubts += (f"d{member}" for member in due)
        return count

    async def _look_closely(self, names: Sequence[str], findings: Findings) -> None:
        """As of one moment: what Redis has, and what it must have."""
        of = {kind: [name[1:] for name in names if name[0] == kind] for kind in "lsrod"}
        behind = [member for member in of["d"] if member[:1] in ("r", "o")]
        moment = await self._redis.moment(
            stock=of["l"] + of["s"],
            reservations=of["r"] + [member[1:] for member in behind if member[0] == "r"],
            orders=of["o"] + [member[1:] for member in behind if member[0] == "o"],
            deadlines=of["d"],
        )
        await self._walk_to(moment)
        for key, value in zip(of["l"] + of["s"], moment.stock, strict=True):
            wrong = (
                self._wrong_level(key, value, moment)
                if SEPARATOR in key
                else self._wrong_locations(key, value, moment)
            )
            self._tell(findings, wrong)
        there: dict[str, bytes | None] = {}
        for prefix, keys, values in (
            ("r", of["r"], moment.reservations),
            ("o", of["o"], moment.orders),
        ):
            also = [member[1:] for member in behind if member[0] == prefix]
            there |= {prefix + key: value for key, value in zip(keys + also, values, strict=True)}
            for key in keys:
                wrong = self._wrong_image(prefix + key, there[prefix + key], moment)
                self._tell(findings, wrong)
        for member, score in zip(of["d"], moment.deadlines, strict=True):
            self._tell(findings, self._wrong_deadline(member, score, there.get(member), moment))

    async def _walk_to(self, moment: Moment) -> None:
        """The fold as of the moment, or later: earlier images are kept."""
        if moment.seq > self._walk.chain.seq:
            await self._ledger.wait_for(moment.entry, _PATIENCE_SECONDS)
            self._walk.go_on(self._connection, moment.seq, lambda _: None)

    def _tell(self, findings: Findings, wrong: str | None) -> None:
        if wrong is not None:
            findings.add("redis", f"in Redis: {wrong}")

    def _wrong_level(self, key: str, value: bytes | None, moment: Moment) -> str | None:
        return _differs(f"l{key}", value, self._state.image_as_of(f"l{key}", moment.seq))

    def _wrong_locations(self, sku: str, value: bytes | None, moment: Moment) -> str | None:
        right = sorted(
            location
            for name in self._state.partition.levels
            for of_sku, location in (split_field(name),)
            if of_sku == sku and self._state.image_as_of(f"l{name}", moment.seq) is not None
        )
        there = _locations(value)
        if there == right:
            return None
        return f"the locations of {sku} are {there}, should be {right}"

    def _wrong_image(self, name: str, value: bytes | None, moment: Moment) -> str | None:
        right = self._state.image_as_of(name, moment.seq)
        if value == right:
            return None
        if right is not None:
            if value is None and self._is_over(name, right, moment.now_ms):
                return None
            if value is not None and name[0] == "o" and self._is_rest(value, right, moment.now_ms):
                return None
        return _differs(name, value, right)

    def _wrong_deadline(
        self, member: str, score: float | None, behind: bytes | None, moment: Moment
    ) -> str | None:
        """A deadline may come early: what stands behind it is looked at, and it is set anew."""
        right = self._state.image_as_of(member, moment.seq) if member[:1] in ("r", "o") else None
        due = None if right is None else self._due(member, right)
        if right is not None and behind is None and self._is_over(member, right, moment.now_ms):
            due = None  # both are forgotten in one step
        if (score is None) == (due is None) and (score or 0) <= (due or 0):
            return None
        told = "none" if score is None else f"{score:.0f}"
        return f"the deadline of {subject(member)} is {told}, should be {due or 'none'}"

    def _due(self, member: str, image: bytes) -> int | None:
        """When the script looks at a reservation or order next."""
        if member[0] == "o":
            order = decode_order(image)
            return None if order.reservations else self._state.early_until.get(member[1:])
        reservation = decode_reservation(image)
        if reservation.status == "held":
            return reservation.expires_at
        if reservation.status == "confirmed":
            return None
        return reservation.closed_at + self._state.partition.window_ms

    def _image(self, name: str) -> bytes:
        return self._state.images[name][1]

    def _is_over(self, name: str, image: bytes, now_ms: int) -> bool:
        """Whether it may have been forgotten by now."""
        if name[0] == "r":
            due = self._due(name, image)
            return decode_reservation(image).closed_at > 0 and due is not None and due <= now_ms
        order = decode_order(image)
        if order.reservations:
            return all(self._state.may_be_forgotten(r, now_ms) for r in order.reservations)
        return self._state.early_until.get(name[1:], now_ms + 1) <= now_ms

    def _is_rest(self, value: bytes, image: bytes, now_ms: int) -> bool:
        """Whether an order is what it was, less reservations that may have been forgotten."""
        try:
            there = decode_order(value)
        except msgspec.MsgspecError:
            return False
        right = decode_order(image)
        kept = [name for name in right.reservations if name in there.reservations]
        gone = [name for name in right.reservations if name not in there.reservations]
        return (
            there == Order(kept, right.early)
            and bool(kept)
            and all(self._state.may_be_forgotten(name, now_ms) for name in gone)
        )


def _locations(value: bytes | None) -> list[str]:
    if value is None:
        return []
    try:
        return sorted(_decode_locations(value))
    except msgspec.MsgspecError:
        return [_NOBODY]


def _differs(name: str, value: bytes | None, right: bytes | None) -> str | None:
    if value == right:
        return None
    if value is None:
        return f"{subject(name)} is not there"
    if right is None:
        return f"{subject(name)} is there, and follows from no entry"
    decode = _DECODERS[name[0]]
    try:
        words = members(decode(value), decode(right))
    except msgspec.MsgspecError:
        words = "can't be read"
    return f"{subject(name)} {words or 'is packed otherwise'}"
