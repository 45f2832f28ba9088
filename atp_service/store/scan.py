"""Everything Redis keeps, as it keeps it: raw values by name and by scan, for who compares it.

On a wire of its own, so that selling is never behind it. Nothing is decoded here: what somebody
has damaged by hand may be anything.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct
from redis.exceptions import ResponseError

from atp_service.inventory.entry_ref import EntryRef
from atp_service.store.connection import Request, Wire
from atp_service.store.epoch_guard import EpochGuard
from atp_service.store.errors import Fenced, Unavailable
from atp_service.store.keys import Keys

Kept = Literal["stock", "reservations", "orders", "seen", "seen_before"]
Values = list[bytes | None]

Value = TypeVar("Value")
Pairs = list[tuple[bytes, Value]]


class Moment(Struct, frozen=True):
    """What Redis had at one moment, when `entry` was its latest; in the order asked.

    `marked` says whether a dedupe mark was there, in either window. `rotated_at_ms` is when the
    later window began.
    """

    entry: EntryRef
    now_ms: int
    rotated_at_ms: int
    stock: Values
    reservations: Values
    orders: Values
    deadlines: list[float | None]
    marked: list[bool]

    @property
    def seq(self) -> int:
        return self.entry.seq


class Walk:
    """Reads one partition, a page at a time. One asker at a time. Raises Unavailable or Fenced."""

    def __init__(self, wire: Wire, guard: EpochGuard, keys: Keys) -> None:
        self._wire = wire
        self._guard = guard
        self._keys = keys

    async def values(self, kept: Kept, names: Sequence[str]) -> Values:
        """What stands under each name; None where there is nothing."""
        if not names:
            return []
        values: Values = (await self._ask(("HMGET", getattr(self._keys, kept), *names)))[0]
        return values

    async def with_deadlines(
        self, kept: Kept, names: Sequence[str], members: Sequence[str]
    ) -> tuple[Values, list[float | None]]:
        """As `values`, and the deadlines' times."""
        if not names:
            return [], []
        values, scores = await self._ask(
            ("HMGET", getattr(self._keys, kept), *names),
            ("ZMSCORE", self._keys.deadlines, *members),
        )
        return values, [None if score is None else float(score) for score in scores]

    async def moment(
        self,
        *,
        stock: Sequence[str] = (),
        reservations: Sequence[str] = (),
        orders: Sequence[str] = (),
        deadlines: Sequence[str] = (),
        marks: Sequence[str] = (),
    ) -> Moment:
        """All that is asked for, read in one step."""
        keys = self._keys
        asked: list[tuple[str, str, Sequence[str]]] = [
            ("HMGET", keys.stock, stock),
            ("HMGET", keys.reservations, reservations),
            ("HMGET", keys.orders, orders),
            ("ZMSCORE", keys.deadlines, deadlines),
            ("HMGET", keys.seen, marks),
            ("HMGET", keys.seen_before, marks),
        ]
        requests = [(command, key, *names) for command, key, names in asked if names]
        state: list[Request] = [
            ("HMGET", keys.meta, "seq", "time", "epoch", "rotated_at"),
            ("TIME",),
        ]
        # The answers to what is queued say only that it is.
        replies = (await self._ask(("MULTI",), *requests, *state, ("EXEC",)))[-1]
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise Unavailable(str(reply))
        *found, (seq, time, epoch, rotated_at), clock = replies
        if not self._guard.is_verified(epoch):
            raise _fenced()
        rest = iter(found)
        values: list[Any] = [next(rest) if names else [] for _, _, names in asked]
        return Moment(
            entry=EntryRef(self._guard.partition, int(epoch), int(seq or 0)),
            # The script's clock never goes back.
            now_ms=max(int(clock[0]) * 1000 + int(clock[1]) // 1000, int(time or 0)),
            rotated_at_ms=int(rotated_at or 0),
            stock=values[0],
            reservations=values[1],
            orders=values[2],
            deadlines=[None if score is None else float(score) for score in values[3]],
            marked=[found != (None, None) for found in zip(values[4], values[5], strict=True)],
        )

    async def scan(self, kept: Kept, count: int) -> AsyncIterator[Pairs[bytes]]:
        """All names with their values, by the page; a name may come twice."""
        async for found in self._scan("HSCAN", getattr(self._keys, kept), count):
            yield list(zip(found[::2], found[1::2], strict=True))

    async def scan_deadlines(self, count: int) -> AsyncIterator[Pairs[float]]:
        """As `scan`: members with their scores."""
        async for found in self._scan("ZSCAN", self._keys.deadlines, count):
            yield list(zip(found[::2], map(float, found[1::2]), strict=True))

    async def _scan(self, command: str, key: str, count: int) -> AsyncIterator[list[bytes]]:
        cursor = b"0"
        while True:
            ((cursor, found),) = await self._ask((command, key, cursor, "COUNT", count))
            yield found
            if not int(cursor):
                return

    async def close(self) -> None:
        await self._wire.close()

    async def _ask(self, *requests: Request) -> list[Any]:
        epoch_too = ("HGET", self._keys.meta, "epoch")
        *replies, epoch = await self._wire.exchange([*requests, epoch_too])
        for reply in (*replies, epoch):
            if isinstance(reply, ResponseError):
                raise Unavailable(str(reply))
        if not self._guard.is_verified(epoch):
            raise _fenced()
        return replies


def _fenced() -> Fenced:
    return Fenced("Redis is in another epoch than the one compared", 1)
