"""An emptied Redis is filled with what the ledger has: the same bytes under the same names."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection

from atp_service.inventory.journal import Entry
from atp_service.inventory.reservations import Order, decode_order, decode_reservation
from atp_service.ledger import Position
from atp_service.ledger.read import partition
from atp_service.ledger.rebuilds import session
from atp_service.store import FEED_PREFIX
from atp_service.store.keys import Keys
from atp_service.store.raw_partition import Pairs
from atp_service.workers.rebuild.dedupe_window import Seen
from atp_service.workers.rebuild.fork.entry import UNREADABLE

_ORDERS_AT_ONCE: Final = 5_000
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
    seen: int = 0


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
        await self._orders(await self._reservations())
        await self._seen()
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
                    pairs += (f"{name}\x1f{place}".encode(), kept)
                self.filled.levels += len(rows)
                await self._fill.put(stock, pairs)
            if places:
                await self._fill.put(stock, [sku.encode(), _encode(places)])

    async def _reservations(self) -> dict[str, list[str]]:
        """Reservations and their deadlines; which of them each order has."""
        of_order: dict[str, list[str]] = {}
        async with session(self._database_url) as connection:
            found = partition.reservations(connection, self._partition, self._since)
            async for rows in found:
                pairs: Pairs = []
                deadlines: Pairs = []
                for name, image in rows:
                    field = name.encode()
                    kept = readable(decode_reservation, image, f"reservation {name}")
                    pairs += (field, image)
                    if kept.closed_at:
                        deadlines += (b"%d" % (kept.closed_at + self._window_ms), b"r" + field)
                    elif kept.status == "held":
                        deadlines += (b"%d" % kept.expires_at, b"r" + field)
                    if kept.order_id:
                        of_order.setdefault(kept.order_id, []).append(name)
                self.filled.reservations += len(rows)
                await self._fill.put(self._keys.reservations, pairs)
                await self._fill.put_deadlines(deadlines)
        return of_order

    async def _orders(self, of_order: dict[str, list[str]]) -> None:
        """The orders of those reservations; a reservation that is forgotten is no longer listed."""
        ids = list(of_order)
        async with session(self._database_url) as connection:
            for start in range(0, len(ids), _ORDERS_AT_ONCE):
                part = ids[start : start + _ORDERS_AT_ONCE]
                pairs: Pairs = []
                for order_id, image in await partition.orders(connection, self._partition, part):
                    order = readable(decode_order, image, f"order {order_id}")
                    kept = of_order[order_id]
                    listed = [name for name in order.reservations if name in kept]
                    if listed != order.reservations:
                        image = _encode(Order(listed, order.early))
                    pairs += (order_id.encode(), image)
                self.filled.orders += len(pairs) // 2
                await self._fill.put(self._keys.orders, pairs)

    async def _seen(self) -> None:
        """What the dedupe window remembers, feeds that were heard of in it, and units that were
        sold in it for orders still waited for."""
        seen = Seen()
        async with session(self._database_url) as connection:
            first = await partition.first_seq_since(
                connection, self._partition, self._position.seq, self._since
            )
            async for rows in partition.window(connection, self._partition, first):
                pairs: Pairs = []
                for row in rows:
                    for key in seen.keys_of(*row):
                        pairs += (key.encode(), b"")
                self.filled.seen += len(pairs) // 2
                await self._fill.put(self._keys.seen, pairs)
            await self._shipped(connection, seen)
            await self._waited_for(connection, seen)
        feeds: Pairs = []
        for feed, (occurred_at_ms, received_at_ms) in seen.feeds.items():
            feeds += (f"{FEED_PREFIX}{feed}".encode(), b"%d:%d" % (occurred_at_ms, received_at_ms))
        await self._fill.put(self._keys.meta, feeds)

    async def _shipped(self, connection: AsyncConnection[Any], seen: Seen) -> None:
        """Shipments are remembered by the reservations they were for, as far as known then."""
        named = [s.order_id for s in seen.shipments if s.order_id]
        orders = dict(await partition.orders(connection, self._partition, named))
        listed = {
            name: readable(decode_order, image, f"order {name}").reservations
            for name, image in orders.items()
        }
        held = await partition.held(
            connection,
            self._partition,
            [s.reservation_id for s in seen.shipments if s.reservation_id],
        )
        pairs: Pairs = []
        for shipment in seen.shipments:
            for key in seen.shipment_keys(shipment, listed, held):
                pairs += (key.encode(), b"")
        self.filled.seen += len(pairs) // 2
        await self._fill.put(self._keys.seen, pairs)

    async def _waited_for(self, connection: AsyncConnection[Any], seen: Seen) -> None:
        """Orders of which units were sold before any confirm, until they are waited for no more."""
        pairs: Pairs = []
        deadlines: Pairs = []
        sold = seen.sold_early
        for order_id, image in await partition.orders(connection, self._partition, list(sold)):
            order = readable(decode_order, image, f"order {order_id}")
            if order.early and not order.reservations:
                field = order_id.encode()
                pairs += (field, image)
                deadlines += (b"%d" % (sold[order_id] + self._window_ms), b"o" + field)
        self.filled.orders += len(pairs) // 2
        await self._fill.put(self._keys.orders, pairs)
        await self._fill.put_deadlines(deadlines)
