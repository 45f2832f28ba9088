"""Reads of one partition, from the same hashes the decisions are made on."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from msgspec import Struct

from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.journal import UNREADABLE
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level, level_field
from atp_service.store.connection import Reader, Request, Wire
from atp_service.store.epoch_guard import EpochGuard
from atp_service.store.errors import Fenced, Unreadable
from atp_service.store.keys import Keys
from atp_service.store.server_report import ServerReport, report_of

log = structlog.get_logger()

T = TypeVar("T")

FEED_PREFIX = "f:"  # of their fields in meta
LOOK_AGAIN_SECONDS = 0.5  # how often reads look anew at a Redis that was refused
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode


class FeedSeen(Struct, frozen=True):
    """When a feed's latest event happened, and when the feed was last heard of."""

    occurred_at_ms: int
    received_at_ms: int


class Reads:
    """Each method may raise Unavailable; or Fenced, if Redis does not continue the ledger.

    A Redis may be emptied under a connection that lives on, so each reply shows its epoch.
    """

    def __init__(self, reader: Reader, probe: Wire, guard: EpochGuard, keys: Keys) -> None:
        self.unguarded = reader
        self._probe = probe
        self._guard = guard
        self._keys = keys
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_AGAIN_SECONDS

    async def levels(self, pairs: Sequence[tuple[str, str]]) -> list[StockLevel | None]:
        """The levels of (SKU, location) pairs; None if there is none."""
        images = await self.level_images(pairs)
        return [None if image is None else readable_level(image) for image in images]

    async def level_images(self, pairs: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """The same, not decoded yet."""
        if not pairs:
            return []
        fields = [level_field(sku, location) for sku, location in pairs]
        images: list[bytes | None]
        (images,) = await self._read(("HMGET", self._keys.stock, *fields))
        return images

    async def locations_of(self, skus: Sequence[str]) -> list[list[str]]:
        """The locations at which each SKU has a level; empty if it has none."""
        if not skus:
            return []
        (blobs,) = await self._read(("HMGET", self._keys.stock, *skus))
        # A damaged list is as one of a SKU without a level.
        return [
            [] if blob is None else _readable(_decode_locations, blob, "locations_unreadable") or []
            for blob in blobs
        ]

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """The reservation as of now. Raises Unreadable if its value is damaged."""
        blob, time = await self._read(("HGET", self._keys.reservations, reservation_id), ("TIME",))
        if blob is None:
            return None
        about = {"reservation_id": reservation_id}
        reservation = _readable(decode_reservation, blob, "reservation_unreadable", **about)
        if reservation is None:
            raise Unreadable(f"the reservation {reservation_id} can't be read")
        return as_of(reservation, _milliseconds(time))

    async def has_reservation(self, reservation_id: str) -> bool:
        """Whether there is a value under the id, readable or not."""
        (there,) = await self._read(("HEXISTS", self._keys.reservations, reservation_id))
        return bool(there)

    async def now_ms(self) -> int:
        """Redis's clock, in Unix milliseconds; of a fenced Redis too."""
        (time,) = await self.unguarded.ask(("TIME",))
        return _milliseconds(time)

    async def feeds(self, names: Sequence[str]) -> dict[str, FeedSeen]:
        """Those of the feeds that have been heard of."""
        if not names:
            return {}
        fields = [f"{FEED_PREFIX}{name}" for name in names]
        (values,) = await self._read(("HMGET", self._keys.meta, *fields))
        return {
            name: FeedSeen(*map(int, value.split(b":")))
            for name, value in zip(names, values, strict=True)
            if value is not None
        }

    async def last_entry(self) -> EntryRef:
        """The journal's latest entry, in the epoch that was compared; seq 0 before the first."""
        (seq,) = await self._read(("HGET", self._keys.meta, "seq"))
        return EntryRef(self._guard.partition, self._guard.epoch, int(seq or 0))

    async def due(self) -> float | None:
        """Seconds until the next deadline, 0 or less when it has passed; None without one."""
        first, time = await self.unguarded.ask(
            ("ZRANGE", self._keys.deadlines, 0, 0, "WITHSCORES"), ("TIME",)
        )
        return (float(first[1]) - _milliseconds(time)) / 1000 if first else None

    async def server_report(self) -> ServerReport:
        """The server's identity, durability and memory."""
        info, seq, length = await self._read(
            ("INFO",), ("HGET", self._keys.meta, "seq"), ("XLEN", self._keys.journal)
        )
        (policy,) = await self.unguarded.ask(("CONFIG", "GET", "appendfsync"))
        return report_of(info, policy, int(seq or 0), length)

    async def _read(self, *requests: Request) -> list[Any]:
        """The replies, in order, of a Redis that continues the ledger."""
        if self._guard.refused:
            await self._look_again()
        replies = await self._read_with_epoch(requests)
        if replies is None:
            await self._look_again()
            replies = await self._read_with_epoch(requests)
        if replies is None:
            raise Fenced("Redis is in an epoch that has not been compared yet", 1)
        return replies

    async def _read_with_epoch(self, requests: Sequence[Request]) -> list[Any] | None:
        """The replies; None if Redis is in another epoch than the one compared."""
        # The epoch comes last: a value read before it is then no younger than it.
        request = ("HGET", self._keys.meta, "epoch")
        *replies, epoch = await self.unguarded.ask(*requests, request)
        return replies if self._guard.is_verified(epoch) else None

    async def _look_again(self) -> None:
        """Have the guard compare Redis anew, on a connection of its own. Raises Fenced.

        Of many callers at the same time one looks, for all of them.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
                try:
                    await self._probe.exchange([("PING",)])
                finally:
                    self._looked_at = time.monotonic()
                    await self._probe.close()
        self._guard.check()

    async def close(self) -> None:
        await self.unguarded.close()


def as_of(reservation: Reservation, now_ms: int) -> Reservation:
    """A lapsed hold reads as expired, whether it has been reaped or not."""
    if reservation.status != "held" or reservation.expires_at > now_ms:
        return reservation
    lines = [
        msgspec.structs.replace(line, lapsed=line.reserved or line.lapsed, reserved=0)
        for line in reservation.lines
    ]
    return msgspec.structs.replace(
        reservation, status="expired", closed_at=reservation.expires_at, lines=lines
    )


def readable_level(blob: bytes) -> StockLevel | None:
    """The level; None if the value is damaged. Such a level promises nothing until it is repaired,
    and must not spoil a page of others."""
    return _readable(decode_level, blob, "level_unreadable")


def _readable(decode: Callable[[bytes], T], blob: bytes, event: str, **about: str) -> T | None:
    """The decoded value; None if it is damaged, and the log has the event."""
    try:
        return decode(blob)
    except UNREADABLE as fault:
        log.error(event, reason=str(fault), **about)
        return None


def _milliseconds(time: Sequence[bytes]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000
