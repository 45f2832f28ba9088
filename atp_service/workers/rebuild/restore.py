"""An emptied Redis is filled with what the ledger has: the same bytes under the same names."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct

from atp_service.inventory.journal import (
    ORDER,
    RESERVATION,
    Entry,
    decode_fields,
    decode_head,
    marks_of,
)
from atp_service.inventory.reservations import decode_order, decode_standing
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.inventory.stock import level_field
from atp_service.ledger import Position
from atp_service.ledger.read import partition
from atp_service.ledger.read.as_of_entry import Kind
from atp_service.ledger.rebuilds import session
from atp_service.store import FEED_PREFIX
from atp_service.store.keys import Keys
from atp_service.store.raw_partition import Pairs
from atp_service.workers.rebuild.fork.entry import UNREADABLE

log = structlog.get_logger()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.msgpack.Encoder().encode


T = TypeVar("T")


class Unreadable(Exception):
    """The ledger has something that a rebuild needs and nobody can read."""


def readable(decode: Callable[[bytes], T], blob: bytes, what: str) -> T:
    """What the bytes say. Raises Unreadable, and says of what."""
    try:
        return decode(blob)
    except UNREADABLE as fault:
        raise Unreadable(f"{what} can't be read in the ledger: {fault}") from fault


class Target(Protocol):
    """Where it goes: Redis, or nowhere."""

    async def put(self, key: str, pairs: Pairs) -> None: ...

    async def put_deadlines(self, pairs: Pairs) -> None: ...

    async def put_entry(self, entry: Entry) -> None: ...

    async def finish(self, *, seq: int, digest: str, at_ms: int, rotated_at_ms: int) -> None: ...


class Filled(Struct):
    """How much was put back."""

    levels: int = 0
    reservations: int = 0
    orders: int = 0
    marks: int = 0


class Filling:
    """One partition, as the ledger has it at its position."""

    def __init__(
        self,
        fill: Target,
        database_url: str,
        keys: Keys,
        position: Position,
        *,
        partition: int,
        window_ms: int,
        now_ms: int,
    ) -> None:
        self._fill = fill
        self._database_url = database_url
        self._keys = keys
        self._position = position
        self._partition = partition
        self._window_ms = window_ms
        self._now_ms = now_ms
        self._since = _EPOCH + timedelta(milliseconds=now_ms - window_ms)
        self.filled = Filled()

    async def run(self) -> None:
        """Everything but the epoch, which begins when the last of it is in. Raises Unreadable."""
        try:
            await self._run()
        except UNREADABLE as fault:
            raise Unreadable(f"an entry can't be read in the ledger: {fault}") from fault

    async def _run(self) -> None:
        async with session(self._database_url) as connection:
            last = await partition.last_entry(connection, self._partition, self._position.seq)
        await self._levels()
        self.filled.reservations = await self._documents(
            "reservations", RESERVATION, lambda image: reservation_due_at(decode_standing(image))
        )
        self.filled.orders = await self._documents(
            "orders", ORDER, lambda image: order_due_at(decode_order(image))
        )
        await self._marks()
        at_ms = 0
        if last is not None:
            entry, at = last
            at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
            await self._fill.put_entry(entry)
        await self._fill.finish(
            seq=self._position.seq,
            digest=self._position.digest,
            at_ms=at_ms,
            rotated_at_ms=self._now_ms,
        )

    async def _levels(self) -> None:
        """Levels, and for each SKU the list of its locations."""
        stock = self._keys.stock
        sku, places = "", list[str]()
        async with session(self._database_url) as connection:
            async for rows in partition.levels(connection, self._partition):
                pairs: Pairs = []
                for name, place, kept in rows:
                    if name != sku:
                        if places:
                            pairs += (sku.encode(), _encode(places))
                        sku, places = name, []
                    places.append(place)
                    pairs += (level_field(name, place).encode(), kept)
                self.filled.levels += len(rows)
                await self._fill.put(stock, pairs)
            if places:
                await self._fill.put(stock, [sku.encode(), _encode(places)])

    async def _documents(
        self, kind: Kind, member: str, due_at: Callable[[bytes], int | None]
    ) -> int:
        """Reservations or orders, with their deadlines; how many."""
        count = 0
        async with session(self._database_url) as connection:
            async for rows in partition.documents(connection, self._partition, kind):
                pairs: Pairs = []
                deadlines: Pairs = []
                for key, image in rows:
                    pairs += (key.encode(), image)
                    at_ms = readable(due_at, image, f"{kind[:-1]} {key}")
                    if at_ms is not None:
                        deadlines += (b"%d" % at_ms, (member + key).encode())
                count += len(rows)
                await self._fill.put(getattr(self._keys, kind), pairs)
                await self._fill.put_deadlines(deadlines)
        return count

    async def _marks(self) -> None:
        """The dedupe window, and the feeds that were heard in it."""
        feeds: dict[str, tuple[int, int]] = {}  # latest event's time, when last heard
        async with session(self._database_url) as connection:
            first = await partition.first_seq_since(
                connection, self._partition, self._position.seq, self._since
            )
            async for rows in partition.window(connection, self._partition, first):
                pairs: Pairs = []
                for seq, command, head in rows:
                    for mark in _marks_of(seq, command, head, feeds):
                        pairs += (mark.encode(), b"")
                self.filled.marks += len(pairs) // 2
                await self._fill.put(self._keys.seen, pairs)
        pairs = []
        for feed, (occurred_at_ms, heard_at_ms) in feeds.items():
            pairs += (f"{FEED_PREFIX}{feed}".encode(), b"%d:%d" % (occurred_at_ms, heard_at_ms))
        await self._fill.put(self._keys.meta, pairs)


def _marks_of(
    seq: int, command: bytes, head: bytes, feeds: dict[str, tuple[int, int]]
) -> list[str]:
    """The marks of an entry, and `feeds` as of it; none of an entry that was made unreadable."""
    try:
        fields, standing = decode_fields(command), decode_head(head)
    except UNREADABLE as fault:
        log.error("entry_unreadable", seq=seq, reason=str(fault))
        return []
    if fields.source is not None and standing.kind != "park":
        occurred_at_ms = min(fields.occurred_at_ms or standing.at_ms, standing.at_ms)
        latest, _ = feeds.get(fields.source, (occurred_at_ms, 0))
        feeds[fields.source] = max(latest, occurred_at_ms), standing.at_ms
    return marks_of(fields, standing)
