"""Does this Redis continue the ledger? Verified on every new connection, before any decision.

It is verified again when a reply shows another epoch. Redis may have been emptied, restored from an
old copy, or failed over to a replica that missed writes. Its tail is compared with the ledger's
position; a Redis that does not continue the ledger is fenced.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog
from msgspec import Struct

from atp_service.inventory.journal import FORMAT
from atp_service.store.connection import Wire
from atp_service.store.errors import Fenced, Unavailable
from atp_service.store.keys import Keys

log = structlog.get_logger()

FIRST_EPOCH = 1
SOON_SECONDS = 1  # when to ask again during a rebuild
_LATER_SECONDS = 2  # … before it has begun


class Position(Protocol):
    """How far the ledger has come."""

    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def run_id(self) -> str: ...


P = TypeVar("P", bound=Position)


class Positions(Protocol):
    """The ledger's positions of partitions. Each method may raise when the ledger is away.

    `begin` is true once for each partition, for the caller that begins it.
    """

    async def position(self, partition: int) -> Position | None: ...

    async def begin(self, partition: int, epoch: int) -> bool: ...

    async def open(self, partition: int, epoch: int, run_id: str) -> None: ...


class RedisHeader(Struct, frozen=True):
    """A Redis's own account of a partition. No epoch: it is empty or fenced; no seq: it is empty,
    or filled by the rebuild named; no format: it is empty, or of 0.1.0. `history` changes when it
    has followed another Redis."""

    run_id: str
    history: str
    epoch: int | None
    seq: int | None
    digest: str
    rebuilding: str
    format: int | None


async def read_header(wire: Wire, keys: Keys) -> RedisHeader:
    """The header of the Redis at the other end of the wire."""
    request = ("HMGET", keys.meta, "epoch", "seq", "digest", "rebuilding", "format")
    about = [("INFO", "server"), ("INFO", "replication")]
    meta, server, replication = await wire.exchange([request, *about])
    if not isinstance(meta, list):
        raise Unavailable(str(meta))
    epoch, seq, digest, rebuilding, written_in = meta
    return RedisHeader(
        _field(server, "run_id"),
        _field(replication, "master_replid"),
        None if epoch is None else int(epoch),
        None if seq is None else int(seq),
        (digest or b"").decode(),
        (rebuilding or b"").decode(),
        None if written_in is None else int(written_in),
    )


def _field(info: object, name: str) -> str:
    """The field of that name in a section of INFO."""
    if not isinstance(info, bytes):
        raise Unavailable(str(info))
    lines = (line.partition(":") for line in info.decode().splitlines())
    return next(value for key, _, value in lines if key == name)


async def compare(
    wire: Wire, keys: Keys, position: P | None, position_now: Callable[[], Awaitable[P | None]]
) -> tuple[RedisHeader, P | None]:
    """Redis's header, and the ledger's position before it: Redis may only be ahead. Before the
    first start there is no position, and the header has no seq. Raises Fenced unless Redis
    continues the ledger."""
    while True:
        header = await read_header(wire, keys)
        if header.seq is None and not header.rebuilding and position is None:
            return header, None
        try:
            await _compare(wire, keys, header, position)
        except Fenced as fence:
            # Or the ledger was ahead: meanwhile entries were recorded and trimmed, or another epoch
            # has begun.
            later = await position_now() if fence.cause == "ledger-behind" else position
            if later == position:
                raise
            position = later
        else:
            return header, position


async def _compare(wire: Wire, keys: Keys, header: RedisHeader, position: Position | None) -> None:
    recorded = position.seq if position else 0
    if header.rebuilding:
        raise Fenced("Redis is being rebuilt", SOON_SECONDS, cause="lost")
    if header.seq is not None and header.format != FORMAT:
        raise Fenced(other_format(header.format), cause="format")
    if header.seq is None:
        raise _lost(f"Redis is empty, the ledger has {recorded} entries")
    if position and header.epoch is not None and header.epoch > position.epoch:
        raise _behind(f"Redis is in epoch {header.epoch}, the ledger in {position.epoch}")
    if header.seq > recorded:
        await _compare_tail(wire, keys, position)
    if header.epoch is None:
        raise _lost("Redis is fenced")
    if position and header.epoch < position.epoch:
        raise _lost(f"Redis is in epoch {header.epoch}, the ledger in {position.epoch}")
    if header.seq < recorded:
        raise _lost(f"Redis lost writes: it ends at {header.seq}, the ledger at {recorded}")
    if position and header.seq == recorded and header.digest != position.digest:
        raise _lost(f"Redis and the ledger differ at entry {recorded}")


async def _compare_tail(wire: Wire, keys: Keys, position: Position | None) -> None:
    """The recorder leaves the last entry it recorded, so that it can be compared."""
    recorded = position.seq if position else 0
    start = f"{max(1, recorded)}-0"
    (first,) = await wire.exchange([("XRANGE", keys.journal, start, "+", "COUNT", 1)])
    if not first or first[0][0] != start.encode():
        raise _behind(f"the journal does not reach back to entry {max(1, recorded)}")
    if position and recorded and first[0][1][-1].decode() != position.digest:
        raise _lost(f"Redis and the ledger differ at entry {recorded}")


def other_format(found: int | None) -> str:
    """One line: what was found, and what the operator does."""
    if found is None:
        return (
            "Redis holds data of 0.1.0, which this release does not read: start with an empty Redis"
            " and an empty database (for `atp up`: remove its data folder)"
        )
    return f"Redis holds data in format {found}, and this release writes {FORMAT}: start the other"


def _lost(reason: str) -> Fenced:
    return Fenced(reason, _LATER_SECONDS, cause="lost")


def _behind(reason: str) -> Fenced:
    return Fenced(f"the ledger is behind: {reason}", cause="ledger-behind")


class EpochGuard:
    """Verifies new connections to a partition; remembers the epoch of the Redis it has verified."""

    def __init__(self, partition: int, keys: Keys) -> None:
        self.partition = partition
        self.epoch = 0
        self._keys = keys
        self._run_id = ""
        self._ledger: Positions | None = None
        self._refused: Fenced | None = None

    def set_ledger(self, ledger: Positions) -> None:
        """Compare with this ledger from now on."""
        self._ledger = ledger

    def forget(self) -> None:
        """Verify the next connection anew: Redis has replied from another epoch."""
        self._run_id, self.epoch = "", 0

    @property
    def refused(self) -> bool:
        """Whether the last Redis was refused."""
        return self._refused is not None

    def is_verified(self, epoch: bytes | None) -> bool:
        """Whether this is the epoch that was verified: an emptied Redis has none."""
        return epoch is not None and int(epoch) == self.epoch

    def check(self) -> None:
        """Raises Fenced while the last Redis was refused."""
        if self._refused is not None:
            fence = self._refused
            raise Fenced(fence.reason, fence.retry_after_seconds, cause=fence.cause)

    async def on_connect(self, wire: Wire) -> None:
        """Raises Fenced unless this Redis continues the ledger."""
        try:
            await self._verify_epoch(wire)
        except Fenced as fence:
            if self._refused is None or self._refused.reason != fence.reason:
                log.error("redis_fenced", reason=fence.reason, cause=fence.cause)
            self._refused = fence
            raise
        self._refused = None

    async def _verify_epoch(self, wire: Wire) -> None:
        header = await read_header(wire, self._keys)
        if header.rebuilding:
            raise Fenced("Redis is being rebuilt", SOON_SECONDS, cause="lost")
        if (
            header.run_id == self._run_id
            and header.epoch is not None
            and header.epoch == self.epoch
        ):
            return
        if self._ledger is None:
            raise Fenced("the ledger has not been asked yet")
        try:
            position = await self._ledger.position(self.partition)
        except Exception as fault:
            if header.epoch is None:
                raise Fenced("Redis is empty or fenced, and the ledger can't be asked") from fault
            if self._run_id and self._run_id != header.run_id:
                raise Fenced("another Redis answers, and the ledger can't be asked") from fault
            log.warning("opened_without_ledger", run_id=header.run_id, reason=str(fault))
            self._run_id, self.epoch = header.run_id, header.epoch
            return
        try:
            header = await self._compared(wire, self._ledger, position)
            epoch = header.epoch or 0
            await self._ledger.open(self.partition, epoch, header.run_id)
        except (Fenced, Unavailable):
            raise
        except Exception as fault:
            raise Unavailable("the ledger went away while Redis was compared") from fault
        self._run_id, self.epoch = header.run_id, epoch
        log.info("redis_opened", run_id=header.run_id, epoch=epoch, seq=header.seq)

    async def _compared(
        self, wire: Wire, ledger: Positions, position: Position | None
    ) -> RedisHeader:
        """The header of a Redis that continues the ledger, or is begun with it."""

        def position_now() -> Awaitable[Position | None]:
            return ledger.position(self.partition)

        while True:
            header, _ = await compare(wire, self._keys, position, position_now)
            if header.seq is not None:
                return header
            # The ledger first: from then on a Redis that is empty has lost something.
            if await ledger.begin(self.partition, FIRST_EPOCH):
                await self._initialise(wire)
            position = await position_now()

    async def _initialise(self, wire: Wire) -> None:
        """The first start ever: an empty Redis and a ledger that knows of none."""
        fields = {
            "format": FORMAT,
            "seq": 0,
            "digest": "",
            "time": 0,
            "rotated_at": 0,
            "epoch": FIRST_EPOCH,
        }
        requests = [("HSETNX", self._keys.meta, name, value) for name, value in fields.items()]
        await wire.exchange([("MULTI",), *requests, ("EXEC",)])
