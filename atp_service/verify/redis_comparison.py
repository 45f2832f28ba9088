"""Redis beside the folded state: byte for byte, while selling goes on.

All of Redis is read, while entries come. What differs is read once more, in one step with the seq
of the latest entry; the walk goes on to that entry, and as of it the two must be equal. The journal
does not tell when a feed was last heard, so that is not compared. Nor does it tell when the window
of dedupe marks was rotated: from the oldest mark that Redis has, all must be there.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal

import msgspec
from psycopg import Connection

from atp_service.inventory.reservations import decode_order, decode_reservation
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.inventory.stock import SEPARATOR, decode_level, split_field
from atp_service.ledger import Ledger
from atp_service.store import Partition
from atp_service.store.scan import Moment
from atp_service.verify.decoded_entry import subject
from atp_service.verify.differences import members
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.findings import Findings

_PAGE: Final = 1_000
_DOUBTS_AT_ONCE: Final = 200
_PATIENCE_SECONDS: Final = 30.0  # for the recorder
_HASHES: tuple[tuple[Literal["stock", "reservations", "orders"], str], ...] = (
    ("stock", "l"),
    ("reservations", "r"),
    ("orders", "o"),
)
_WINDOWS: tuple[Literal["seen", "seen_before"], ...] = ("seen", "seen_before")
_encode = msgspec.msgpack.Encoder().encode
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode
_DECODERS = {"l": decode_level, "r": decode_reservation, "o": decode_order}

Value = bytes | int


class RedisComparison:
    """One partition's Redis beside its walk.

    Names are those of images (`l…`, `r…`, `o…`). `s<sku>` is a SKU's list of locations,
    `d<name>` the deadline (ms) of a reservation or order, and `m<mark>` a dedupe mark.
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
        self._rotated_at_ms = 0
        self._marks_since_ms = 0
        self._found = 0

    async def run(self, findings: Findings) -> int:
        """How many values Redis has; those that differ become findings.

        Raises the store's Unavailable or Fenced; Postgres's Unavailable, also if the recorder does
        not get on.
        """
        try:
            self._rotated_at_ms = (await self._redis.moment()).rotated_at_ms
            count, doubts = await self._doubts()
            marks, doubtful_marks = await self._doubtful_marks()
            # Deadlines come last: something damaged may have moved them.
            doubts.sort(key=lambda name: name[0] == "d")
            doubts += doubtful_marks
            for first in range(0, len(doubts), _DOUBTS_AT_ONCE):
                await self._look_closely(doubts[first : first + _DOUBTS_AT_ONCE], findings)
        finally:
            await self._redis.close()
        return count + marks

    async def _doubts(self) -> tuple[int, list[str]]:
        """How many values there are, and the names of those that may differ."""
        expected, doubts, count = self._expected(), list[str](), 0
        async for name, value in self._values():
            count += 1
            if expected.pop(name, None) != value:
                doubts.append(name)
        return count, list(dict.fromkeys((*doubts, *expected)))

    def _expected(self) -> dict[str, Value]:
        """All that Redis must have as of the walk's last entry, but for the marks."""
        state, partition = self._state, self._state.partition
        expected: dict[str, Value] = {name: state.images[name][1] for name in state.in_redis()}
        locations: dict[str, list[str]] = {}
        for key in partition.levels:
            sku, location = split_field(key)
            locations.setdefault(sku, []).append(location)
        expected |= {f"s{sku}": _encode(sorted(known)) for sku, known in locations.items()}
        for key, reservation in partition.reservations.items():
            due_at_ms = reservation_due_at(reservation)
            if due_at_ms is not None:
                expected[f"dr{key}"] = due_at_ms
        for key, order in partition.orders.items():
            due_at_ms = order_due_at(order)
            if due_at_ms is not None:
                expected[f"do{key}"] = due_at_ms
        return expected

    async def _values(self) -> AsyncIterator[tuple[str, bytes | float]]:
        """All that Redis has, but for the marks. A name may come twice while it is written."""
        for kept, kind in _HASHES:
            cursor = 0
            while True:
                cursor, found = await self._redis.scan(kept, cursor, _PAGE)
                for field, value in found:
                    key = field.decode(errors="replace")
                    is_list = kind == "l" and SEPARATOR not in key
                    yield f"{'s' if is_list else kind}{key}", value
                if not cursor:
                    break
        cursor = 0
        while True:
            cursor, members_found = await self._redis.scan_deadlines(cursor, _PAGE)
            for member, score in members_found:
                yield f"d{member.decode(errors='replace')}", score
            if not cursor:
                break

    async def _doubtful_marks(self) -> tuple[int, list[str]]:
        """How many marks there are, and the names of those that may differ."""
        known, there = self._state.marks, set[str]()
        for window in _WINDOWS:
            cursor = 0
            while True:
                cursor, found = await self._redis.scan(window, cursor, _PAGE)
                there.update(field.decode(errors="replace") for field, _ in found)
                if not cursor:
                    break
        times = [known[mark][1] for mark in there if mark in known]
        self._marks_since_ms = min([self._rotated_at_ms, *times])
        missing = []
        for mark, (_, at_ms) in reversed(known.items()):
            if at_ms <= self._marks_since_ms:
                break
            if mark not in there:
                missing.append(mark)
        strange = [mark for mark in there if mark not in known]
        return len(there), [f"m{mark}" for mark in (*strange, *missing)]

    async def _look_closely(self, names: Sequence[str], findings: Findings) -> None:
        """What Redis has and what it must have, as of one entry."""
        keys: dict[str, list[str]] = {kind: [] for kind in "lsrodm"}
        for name in names:
            keys[name[0]].append(name[1:])
        moment = await self._redis.moment(
            stock=keys["l"] + keys["s"],
            reservations=keys["r"],
            orders=keys["o"],
            deadlines=keys["d"],
            marks=keys["m"],
        )
        await self._walk_to(moment)
        ordered = [f"{kind}{key}" for kind in "lsrodm" for key in keys[kind]]
        values: list[Any] = [*moment.stock, *moment.reservations, *moment.orders]
        values += [*moment.deadlines, *moment.marked]
        for name, value in zip(ordered, values, strict=True):
            wrong = self._wrong(name, value, moment)
            if wrong is not None:
                self._found += 1
                findings.add("redis", f"in Redis: {wrong}")

    async def _walk_to(self, moment: Moment) -> None:
        """The walk is at the moment's entry, or later: earlier images are kept."""
        if moment.seq > self._walk.chain.seq:
            await self._ledger.wait_for(moment.entry, _PATIENCE_SECONDS)
            self._walk.go_on(self._connection, moment.seq, lambda _: None)

    def _wrong(self, name: str, value: Any, moment: Moment) -> str | None:
        """How the value under a name differs from the right one, in words."""
        kind, key = name[0], name[1:]
        match kind:
            case "s":
                return self._wrong_locations(key, value, moment)
            case "d":
                return self._wrong_deadline(key, value, moment)
            case "m":
                return self._wrong_mark(key, value, moment)
        return _difference(name, value, self._state.image_as_of(name, moment.seq))

    def _wrong_locations(self, sku: str, value: bytes | None, moment: Moment) -> str | None:
        prefix = f"l{sku}{SEPARATOR}"
        right = sorted(
            name[len(prefix) :]
            for name in self._state.images
            if name.startswith(prefix) and self._state.image_as_of(name, moment.seq) is not None
        )
        if value == (_encode(right) if right else None):
            return None
        try:
            there = [] if value is None else _decode_locations(value)
        except msgspec.MsgspecError:
            return f"the locations of {sku} can't be read, should be {right}"
        return f"the locations of {sku} are {there}, should be {right}"

    def _wrong_deadline(self, name: str, score: float | None, moment: Moment) -> str | None:
        image = self._state.image_as_of(name, moment.seq) if name[:1] in ("r", "o") else None
        due_at_ms = None if image is None else _due_at(name, image)
        if score == due_at_ms:
            return None
        overdue = due_at_ms is not None and due_at_ms <= moment.now_ms
        if self._found and overdue and score is not None and score > moment.now_ms:
            return None  # something damaged is in the way of it: the script looks at it later
        there = "none" if score is None else f"{score:.0f}"
        return f"the deadline of {subject(name)} is {there}, should be {due_at_ms or 'none'}"

    def _wrong_mark(self, mark: str, is_there: bool, moment: Moment) -> str | None:
        seq, at_ms = self._state.marks.get(mark, (0, 0))
        if seq > moment.seq:
            return None  # a later entry has left it; whether an earlier one had is not known
        words = f"the dedupe mark {mark!r}"
        if is_there:
            return None if seq else f"{words} is there, and follows from no entry"
        rotated = moment.rotated_at_ms != self._rotated_at_ms
        since_ms = self._rotated_at_ms if rotated else self._marks_since_ms
        return f"{words} is not there" if at_ms > since_ms else None


def _due_at(name: str, image: bytes) -> int | None:
    if name[0] == "o":
        return order_due_at(decode_order(image))
    return reservation_due_at(decode_reservation(image))


def _difference(name: str, value: bytes | None, right: bytes | None) -> str | None:
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
