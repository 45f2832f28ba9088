"""The store: changes through the door, reads from the same hashes the decisions are made on."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from atp_service.inventory.commands import Command
from atp_service.inventory.journal import Entry
from atp_service.inventory.outcomes import Outcome
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level, level_field
from atp_service.store.connection import Reader, Request, Wire
from atp_service.store.door import Door
from atp_service.store.epoch_guard import Opening, Witness
from atp_service.store.errors import Fenced, Unavailable, Unreadable
from atp_service.store.journal import entry_of
from atp_service.store.keys import Keys, keys_of
from atp_service.store.raw_partition import Site
from atp_service.store.scan import Walk
from atp_service.store.script import Script, production_script

log = structlog.get_logger()

FEED_PREFIX = "f"  # of their fields in meta
LOOK_AGAIN_SECONDS = 0.5  # how often reads look anew at a Redis that was refused
_TRIM = """
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
  return 0
end
if entry[2][#entry[2]] ~= ARGV[2] then
  return redis.error_reply('FORKED at entry ' .. ARGV[1])
end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
"""
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode


class FeedSeen(Struct, frozen=True):
    """When a feed's latest event happened, and when the feed was last heard of."""

    occurred_at_ms: int
    received_at_ms: int


class ServerReport(Struct, frozen=True):
    """What the Redis behind the store is and does. Memory in bytes; maxmemory 0: no limit."""

    run_id: str
    version: str
    appendfsync: str
    maxmemory_policy: str
    used_memory: int
    maxmemory: int
    seq: int
    recorded_backlog: int


class Store:
    """Stock of the one partition of one Redis."""

    def __init__(
        self,
        redis_url: str,
        *,
        name: str = "atp",
        window_ms: int = 86_400_000,
        script: Script | None = None,
        keys: Keys | None = None,
        opening: Opening | None = None,
    ) -> None:
        self._redis_url = redis_url
        self._name = name
        self._window_ms = window_ms
        self._keys = keys or keys_of(0)
        self._opening = opening or Opening(self._keys)
        self._door = Door(
            Wire(redis_url, name=f"{name}-door", greet=self._opening.greet),
            self._opening,
            self._keys,
            script or production_script(),
            window_ms=window_ms,
        )
        self._reader = Reader(Wire(redis_url, name=f"{name}-read", greet=self._opening.greet))
        # The recorder's: what the journal has is recorded whether or not anybody may promise.
        self._journal_wire = Wire(redis_url, name=f"{name}-journal")
        self._trimming = Reader(Wire(redis_url, name=f"{name}-trim"))
        self._probe = Wire(redis_url, name=f"{name}-probe", greet=self._opening.greet)
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_AGAIN_SECONDS

    @property
    def epoch(self) -> int:
        return self._opening.epoch

    @property
    def waiting(self) -> int:
        """Commands in the door's queue."""
        return self._door.waiting

    async def open(self, witness: Witness) -> None:
        """Compare Redis with the ledger, and start a new one at its first epoch.

        Raises Fenced where they don't belong together, Unavailable where Redis is away. The store
        may be used all the same: it compares again on the next command.
        """
        self._opening.trust(witness)
        await self._door.connect()

    async def apply(self, command: Command) -> Outcome:
        """What became of the command. Raises Unavailable or Fenced."""
        return (await self._door.apply_all((command,)))[0]

    async def apply_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """What became of each command, in order. Raises Unavailable or Fenced."""
        return await self._door.apply_all(commands)

    async def apply_in_epoch(self, command: Command) -> tuple[int, Outcome]:
        """The epoch in which it was decided, and what became of the command: with its seq that is
        what to wait for in the ledger. Raises Unavailable or Fenced."""
        return await self._door.apply_in_epoch(command)

    async def levels(self, pairs: Sequence[tuple[str, str]]) -> list[StockLevel | None]:
        """The levels of (SKU, location) pairs; None where there is none."""
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
        """Where each SKU has a level; empty where it has none."""
        if not skus:
            return []
        (blobs,) = await self._read(("HMGET", self._keys.stock, *skus))
        return [[] if blob is None else _locations_in(blob) for blob in blobs]

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """The reservation as of now. Raises Unreadable where somebody has damaged it."""
        blob, time = await self._read(("HGET", self._keys.reservations, reservation_id), ("TIME",))
        if blob is None:
            return None
        return as_of(_document_in(reservation_id, blob), _milliseconds(time))

    async def now_ms(self) -> int:
        """Redis's clock."""
        (time,) = await self._reader.ask(("TIME",))
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

    async def journal(self, after_seq: int, count: int, block_ms: int = 0) -> list[Entry]:
        """Entries after a seq, in order; waits up to `block_ms` for the first.

        Anybody may look; only one asker at a time may wait.
        """
        streams = ("STREAMS", self._keys.journal, f"{after_seq}-0")
        if not block_ms:
            (reply,) = await self._reader.ask(("XREAD", "COUNT", count, *streams))
        else:
            waiting = ("XREAD", "COUNT", count, "BLOCK", block_ms, *streams)
            (reply,) = await self._journal_wire.exchange([waiting], seconds=5 + block_ms / 1000)
            if isinstance(reply, Exception):
                raise Unavailable(str(reply))
        return [entry_of(*message) for message in reply[0][1]] if reply else []

    async def trim(self, through_seq: int, digest: str) -> None:
        """Let go of recorded entries. The last one stays, so that its digest can be compared.

        Only where that entry has this digest: what another Redis has under its number is its own,
        and nobody has saved it yet. Raises Unavailable.
        """
        trim = ("EVAL", _TRIM, 1, self._keys.journal, f"{through_seq}-0", digest)
        await self._trimming.ask(trim)

    async def fence(self, epoch: int) -> bool:
        """Take Redis's epoch away, if it is still this one: nobody can promise on it any more."""
        site = Site(self._redis_url, name=self._name)
        try:
            return await site.fence(epoch)
        finally:
            await site.close()

    def walk(self) -> Walk:
        """Raw reads on a wire of their own; to be closed."""
        wire = Wire(self._redis_url, name=f"{self._name}-walk", greet=self._opening.greet)
        return Walk(wire, self._opening, self._keys, self._window_ms)

    async def last_seq(self) -> int:
        """The seq of the journal's latest entry; 0 before the first. Raises Unavailable or Fenced:
        it counts in the epoch that was compared."""
        (seq,) = await self._read(("HGET", self._keys.meta, "seq"))
        return int(seq or 0)

    async def due(self) -> float | None:
        """Seconds until the next deadline, 0 or less when it has passed; None without one."""
        first, time = await self._reader.ask(
            ("ZRANGE", self._keys.deadlines, 0, 0, "WITHSCORES"), ("TIME",)
        )
        return (float(first[1]) - _milliseconds(time)) / 1000 if first else None

    async def server_report(self) -> ServerReport:
        """The server's identity, durability and memory. Raises Unavailable or Fenced."""
        info, seq, length = await self._read(
            ("INFO",), ("HGET", self._keys.meta, "seq"), ("XLEN", self._keys.journal)
        )
        lines = (x.split(":", 1) for x in info.decode().splitlines() if ":" in x)
        report: dict[str, str] = dict(lines)
        policies = await self._reader.ask(("CONFIG", "GET", "appendfsync"))
        appending = report.get("aof_enabled") == "1"
        return ServerReport(
            run_id=report["run_id"],
            version=report.get("valkey_version") or report["redis_version"],
            appendfsync=policies[0][1].decode() if appending and policies[0] else "off",
            maxmemory_policy=report["maxmemory_policy"],
            used_memory=int(report["used_memory"]),
            maxmemory=int(report["maxmemory"]),
            seq=int(seq or 0),
            recorded_backlog=max(0, length - 1),
        )

    async def _read(self, *requests: Request) -> list[Any]:
        """As the reader; but nothing is answered from a Redis that doesn't continue the ledger.

        A Redis may be emptied under a connection that lives on: each answer shows its epoch.
        """
        if self._opening.refused:
            await self._look_again()
        replies = await self._read_with_epoch(requests)
        if replies is None:
            await self._look_again()
            replies = await self._read_with_epoch(requests)
        if replies is None:
            raise Fenced("Redis is in an epoch that has not been compared yet", 1)
        return replies

    async def _read_with_epoch(self, requests: Sequence[Request]) -> list[Any] | None:
        """The replies; None where Redis is in another epoch than the one compared."""
        # The epoch comes last: what was read before it is then no younger than it.
        *replies, epoch = await self._reader.ask(*requests, ("HGET", self._keys.meta, "epoch"))
        return replies if self._opening.knows(epoch) else None

    async def _look_again(self) -> None:
        """Have the opening compare Redis anew, on a connection of its own. Raises Fenced.

        Of many who ask at the same time one looks, for all of them.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
                try:
                    await self._probe.exchange([("PING",)])
                finally:
                    self._looked_at = time.monotonic()
                    await self._probe.close()
        self._opening.check()

    async def close(self) -> None:
        await self._door.close()
        await self._reader.close()
        await self._journal_wire.close()
        await self._trimming.close()


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
    """None for what somebody has damaged by hand: nothing can be promised of it until it is
    repaired, and it must not spoil a page of others."""
    try:
        return decode_level(blob)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        log.error("level_unreadable", reason=str(fault))
        return None


def _locations_in(blob: bytes) -> list[str]:
    """Nothing of a list that somebody has damaged by hand, as of a SKU that has no level."""
    try:
        return _decode_locations(blob)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        log.error("locations_unreadable", reason=str(fault))
        return []


def _document_in(reservation_id: str, blob: bytes) -> Reservation:
    try:
        return decode_reservation(blob)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        log.error("reservation_unreadable", reservation_id=reservation_id, reason=str(fault))
        raise Unreadable(f"the reservation {reservation_id} can't be read") from fault


def _milliseconds(time: Sequence[bytes]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


__all__ = ["FeedSeen", "Fenced", "ServerReport", "Store", "Unavailable", "as_of", "readable_level"]
