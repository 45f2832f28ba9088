"""Redis beside the folded state: byte for byte, while selling goes on.

All of Redis is read, while entries come. What differs is read once more, in one step with the seq
of the latest entry; the walk goes on to that entry, and as of it the two must be equal. The journal
does not contain when a feed was last heard, so that is not compared. Nor does it contain when the
window of dedupe marks was rotated: from the oldest mark that Redis has, all must be there.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from psycopg import Connection

from atp_service.inventory.fold import Folded
from atp_service.inventory.journal import LEVEL, ORDER, RESERVATION, Image
from atp_service.inventory.reservations import decode_order, decode_reservation
from atp_service.inventory.stock import SEPARATOR, decode_level
from atp_service.ledger import Ledger
from atp_service.store import Partition
from atp_service.store.scan import Moment, Pairs
from atp_service.verify.decoded_entry import subject
from atp_service.verify.differences import members
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.findings import Findings

T = TypeVar("T")

_PAGE: Final = 1_000
_SUSPECTS_AT_ONCE: Final = 200
_PATIENCE_SECONDS: Final = 30.0  # for the recorder
_DEADLINE: Final = "d"
_MARK: Final = "m"
_HASHES: tuple[tuple[Literal["stock", "reservations", "orders"], str], ...] = (
    ("stock", LEVEL),
    ("reservations", RESERVATION),
    ("orders", ORDER),
)
_WINDOWS: tuple[Literal["seen", "seen_before"], ...] = ("seen", "seen_before")
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode
_DECODERS = {LEVEL: decode_level, RESERVATION: decode_reservation, ORDER: decode_order}


class RedisComparison:
    """One partition's Redis beside its walk.

    Names are those of images. `l<sku>` is a SKU's list of locations, `d<name>` the deadline (ms) of
    a reservation or order, and `m<mark>` a dedupe mark.
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
            count, suspects = await self._suspects()
            marks, suspect_marks = await self._suspect_marks()
            # Deadlines come last: something damaged may have moved them.
            suspects.sort(key=lambda name: name[0] == _DEADLINE)
            suspects += suspect_marks
            for first in range(0, len(suspects), _SUSPECTS_AT_ONCE):
                await self._look_closely(suspects[first : first + _SUSPECTS_AT_ONCE], findings)
        finally:
            await self._redis.close()
        return count + marks

    async def _suspects(self) -> tuple[int, list[str]]:
        """How many values there are, and the names of those that may differ; marks are left out."""
        state = self._state
        expected = _values((name, state.images[name][1]) for name in state.in_redis())
        suspects, count = list[str](), 0
        for hash_, kind in _HASHES:
            async for field, value in _all(self._redis.scan(hash_, _PAGE)):
                count += 1
                if expected.pop(kind + field, None) != value:
                    suspects.append(kind + field)
        async for member, score in _all(self._redis.scan_deadlines(_PAGE)):
            count += 1
            if expected.pop(_DEADLINE + member, None) != score:
                suspects.append(_DEADLINE + member)
        # A scan may return a name twice while Redis is written.
        return count, list(dict.fromkeys((*suspects, *expected)))

    async def _suspect_marks(self) -> tuple[int, list[str]]:
        """How many marks there are, and the names of those that may differ."""
        known, there = self._state.marks, set[str]()
        for window in _WINDOWS:
            async for mark, _ in _all(self._redis.scan(window, _PAGE)):
                there.add(mark)
        times = [known[mark][1] for mark in there if mark in known]
        self._marks_since_ms = min([self._rotated_at_ms, *times])
        missing = []
        for mark, (_, at_ms) in reversed(known.items()):
            if at_ms <= self._marks_since_ms:
                break
            if mark not in there:
                missing.append(mark)
        strange = [mark for mark in there if mark not in known]
        return len(there), [_MARK + mark for mark in (*strange, *missing)]

    async def _look_closely(self, names: Sequence[str], findings: Findings) -> None:
        """What Redis has and what it must have, as of one entry."""
        kinds = (LEVEL, RESERVATION, ORDER, _DEADLINE, _MARK)
        keys = {kind: [name[1:] for name in names if name[0] == kind] for kind in kinds}
        moment = await self._redis.moment(
            stock=keys[LEVEL],
            reservations=keys[RESERVATION],
            orders=keys[ORDER],
            deadlines=keys[_DEADLINE],
            marks=keys[_MARK],
        )
        # The walk goes on to the moment's entry. It may be there already: earlier images are kept.
        if moment.seq > self._walk.chain.seq:
            await self._ledger.wait_for(moment.entry, _PATIENCE_SECONDS)
            self._walk.go_on(self._connection, moment.seq, lambda _: None)
        ordered = [kind + key for kind in kinds for key in keys[kind]]
        values: list[Any] = [*moment.stock, *moment.reservations, *moment.orders]
        values += [*moment.deadlines, *moment.marked]
        for name, value in zip(ordered, values, strict=True):
            wrong = self._wrong(name, value, moment)
            if wrong is not None:
                self._found += 1
                findings.add("redis", f"in Redis: {wrong}")

    def _wrong(self, name: str, value: Any, moment: Moment) -> str | None:
        """How the value under a name differs from the right one, in words."""
        kind, key = name[0], name[1:]
        if kind == _MARK:
            return self._wrong_mark(key, value, moment)
        right = self._right(name, moment.seq)
        if value == right:
            return None
        if kind == _DEADLINE:
            return self._wrong_deadline(key, value, right, moment)
        if kind == LEVEL and SEPARATOR not in key:
            return f"the locations of {key} {_in_words(value)}, should be {_locations(right)}"
        return _difference(name, value, right)

    def _right(self, name: str, seq: int) -> Any:
        """The value under a name when `seq` was the latest entry; None if there was none."""
        names: Iterable[str] = [name]
        if name[0] == _DEADLINE:
            names = [name[1:]]
        elif name[0] == LEVEL and SEPARATOR not in name:
            names = [one for one in self._state.images if one.startswith(name + SEPARATOR)]
        return _values((one, self._state.image_as_of(one, seq)) for one in names).get(name)

    def _wrong_deadline(
        self, name: str, score: float | None, due_at_ms: int | None, moment: Moment
    ) -> str | None:
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


async def _all(pages: AsyncIterator[Pairs[T]]) -> AsyncIterator[tuple[str, T]]:
    """All names of a scan, with their values."""
    async for page in pages:
        for name, value in page:
            yield name.decode(errors="replace"), value


def _values(images: Iterable[tuple[str, Image]]) -> dict[str, bytes | int]:
    """All that Redis has if it has these images, by name."""
    folded = Folded()
    for name, image in images:
        folded.take_image(name, image)
    values: dict[str, bytes | int] = {}
    values |= {LEVEL + key: value for key, value in folded.stock.items()}
    values |= {RESERVATION + key: value for key, value in folded.reservations.items()}
    values |= {ORDER + key: value for key, value in folded.orders.items()}
    values |= {_DEADLINE + name: due_at_ms for name, due_at_ms in folded.deadlines.items()}
    return values


def _in_words(value: bytes | None) -> str:
    try:
        return f"are {_locations(value)}"
    except msgspec.MsgspecError:
        return "can't be read"


def _locations(value: bytes | None) -> list[str]:
    return [] if value is None else _decode_locations(value)


def _difference(name: str, value: bytes | None, right: bytes | None) -> str:
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
