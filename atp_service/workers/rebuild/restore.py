"""An emptied Redis is filled with what the ledger has: the same bytes under the same names."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from atp_service.inventory.journal import (
    ORDER,
    RESERVATION,
    UNREADABLE,
    Entry,
    decode_fields,
    decode_head,
    marks_of,
)
from atp_service.inventory.reservations import decode_order, decode_standing
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.inventory.stock import SEPARATOR, decode_level, level_field
from atp_service.ledger import Position
from atp_service.ledger.read import partition
from atp_service.ledger.read.as_of_entry import Kind
from atp_service.ledger.rebuilds import session
from atp_service.store import FEED_PREFIX
from atp_service.store.keys import Keys
from atp_service.store.raw_partition import Fill, Pairs
from atp_service.workers.rebuild.report import Report
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.msgpack.Encoder().encode

T = TypeVar("T")


class Unreadable(Exception):
    """The ledger has a value that a rebuild needs and that can't be decoded."""


def readable(decode: Callable[[bytes], T], blob: bytes, name: str) -> T:
    """The decoded value. Raises Unreadable with the name."""
    try:
        return decode(blob)
    except UNREADABLE as fault:
        raise Unreadable(f"{name} can't be read in the ledger: {fault}") from fault


class Nowhere(Struct):
    """A target that decodes the levels, which a restore copies as they are, and keeps nothing."""

    keys: Keys

    async def put(self, key: str, pairs: Pairs) -> None:
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            if key == self.keys.stock and SEPARATOR.encode() in name:
                readable(
                    decode_level, value, f"the level {name.decode().replace(SEPARATOR, ' at ')}"
                )

    async def put_deadlines(self, pairs: Pairs) -> None: ...

    async def put_entry(self, entry: Entry) -> None: ...

    async def finish(self, *, seq: int, digest: str, at_ms: int, rotated_at_ms: int) -> None: ...


class Restore(Struct):
    """One partition as the ledger has it at its position; `now_ms` is Redis's clock. The report
    counts the values."""

    target: Fill | Nowhere
    tools: Tools
    keys: Keys
    position: Position
    now_ms: int
    report: Report

    async def run(self) -> None:
        """Put everything but the epoch, which begins when the last value is in. Raises
        Unreadable."""
        number, seq = self.tools.partition, self.position.seq
        async with session(self.tools.database_url) as connection:
            try:
                last = await partition.last_entry(connection, number, seq)
            except UNREADABLE as fault:
                raise Unreadable(f"entry {seq} can't be read in the ledger: {fault}") from fault
        await self._levels()
        self.report.reservations = await self._documents(
            "reservations", RESERVATION, lambda image: reservation_due_at(decode_standing(image))
        )
        self.report.orders = await self._documents(
            "orders", ORDER, lambda image: order_due_at(decode_order(image))
        )
        await self._marks()
        at_ms = 0
        if last is not None:
            entry, at = last
            at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
            await self.target.put_entry(entry)
        await self.target.finish(
            seq=seq, digest=self.position.digest, at_ms=at_ms, rotated_at_ms=self.now_ms
        )

    async def _levels(self) -> None:
        """Levels, and for each SKU the list of its locations."""
        sku, locations = "", list[str]()
        async with session(self.tools.database_url) as connection:
            async for rows in partition.levels(connection, self.tools.partition):
                pairs: Pairs = []
                for of_sku, location, image in rows:
                    if of_sku != sku:
                        if locations:
                            pairs += (sku.encode(), _encode(locations))
                        sku, locations = of_sku, []
                    locations.append(location)
                    pairs += (level_field(sku, location).encode(), image)
                self.report.levels += len(rows)
                await self.target.put(self.keys.stock, pairs)
            if locations:
                await self.target.put(self.keys.stock, [sku.encode(), _encode(locations)])

    async def _documents(
        self, kind: Kind, member: str, due_at: Callable[[bytes], int | None]
    ) -> int:
        """Reservations or orders, with their deadlines; returns how many."""
        count = 0
        async with session(self.tools.database_url) as connection:
            async for rows in partition.documents(connection, self.tools.partition, kind):
                pairs: Pairs = []
                deadlines: Pairs = []
                for key, image in rows:
                    pairs += (key.encode(), image)
                    at_ms = readable(due_at, image, f"{kind[:-1]} {key}")
                    if at_ms is not None:
                        deadlines += (b"%d" % at_ms, (member + key).encode())
                count += len(rows)
                await self.target.put(getattr(self.keys, kind), pairs)
                await self.target.put_deadlines(deadlines)
        return count

    async def _marks(self) -> None:
        """The dedupe window, and the feeds that were heard in it."""
        since = _EPOCH + timedelta(milliseconds=self.now_ms - self.tools.window_ms)
        feeds: dict[str, tuple[int, int]] = {}  # latest event's time, when last heard
        number = self.tools.partition
        async with session(self.tools.database_url) as connection:
            first = await partition.first_seq_since(connection, number, self.position.seq, since)
            async for rows in partition.window(connection, number, first):
                pairs: Pairs = []
                for row in rows:
                    for mark in _marks_of(*row, feeds):
                        pairs += (mark.encode(), b"")
                self.report.seen += len(pairs) // 2
                await self.target.put(self.keys.seen, pairs)
        pairs = []
        for feed, (occurred_at_ms, heard_at_ms) in feeds.items():
            pairs += (f"{FEED_PREFIX}{feed}".encode(), b"%d:%d" % (occurred_at_ms, heard_at_ms))
        await self.target.put(self.keys.meta, pairs)


async def check(tools: Tools, keys: Keys, position: Position) -> None:
    """A dry run, before a Redis that may be sound is fenced. Raises Unreadable if the ledger can't
    fill another, and its Unavailable."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    report = Report(reason="", epoch=0, from_seq=0)
    await Restore(Nowhere(keys), tools, keys, position, now_ms, report).run()


def _marks_of(
    seq: int, command: bytes, head: bytes, feeds: dict[str, tuple[int, int]]
) -> list[str]:
    """The marks of an entry, and `feeds` as of it; none of an entry that was made unreadable."""
    try:
        fields, decoded = decode_fields(command), decode_head(head)
    except UNREADABLE as fault:
        log.error("entry_unreadable", seq=seq, reason=str(fault))
        return []
    if fields.source is not None and decoded.kind != "park":
        occurred_at_ms = min(fields.occurred_at_ms or decoded.at_ms, decoded.at_ms)
        latest, _ = feeds.get(fields.source, (occurred_at_ms, 0))
        feeds[fields.source] = max(latest, occurred_at_ms), decoded.at_ms
    return marks_of(fields, decoded)
