"""Is this the Redis the ledger knows? Asked on every new connection, before anything is decided.

And asked again when an answer shows another epoch. Redis may have been emptied, restored from an
old copy, or failed over to a replica that missed writes. Its tail is compared with the ledger's
position; whoever does not continue the ledger is fenced.
"""

from typing import Protocol

import structlog
from msgspec import Struct

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


class Witness(Protocol):
    """The ledger, as far as the opening needs it. All may raise when it is away.

    `begin` is true for the one who begins the partition, and for nobody ever after.
    """

    async def position(self) -> Position | None: ...

    async def begin(self, epoch: int) -> bool: ...

    async def open(self, epoch: int, run_id: str) -> None: ...


class Sight(Struct, frozen=True):
    """What a Redis says of itself. No epoch: it is empty or fenced; no seq: empty, or being
    filled by the rebuild named. `history` is another one after it has followed another Redis."""

    run_id: str
    history: str
    epoch: int | None
    seq: int | None
    digest: str
    rebuilding: str


async def look(wire: Wire, keys: Keys) -> Sight:
    """What the Redis at the other end of the wire says of itself."""
    request = ("HMGET", keys.meta, "epoch", "seq", "digest", "rebuilding")
    about = [("INFO", "server"), ("INFO", "replication")]
    meta, server, replication = await wire.exchange([request, *about])
    if not isinstance(meta, list):
        raise Unavailable(str(meta))
    epoch, seq, digest, rebuilding = meta
    return Sight(
        _told(server, "run_id"),
        _told(replication, "master_replid"),
        None if epoch is None else int(epoch),
        None if seq is None else int(seq),
        (digest or b"").decode(),
        (rebuilding or b"").decode(),
    )


def _told(info: object, name: str) -> str:
    """What a part of INFO says under the name."""
    if not isinstance(info, bytes):
        raise Unavailable(str(info))
    lines = (line.partition(":") for line in info.decode().splitlines())
    return next(value for key, _, value in lines if key == name)


async def compare(wire: Wire, keys: Keys, sight: Sight, position: Position | None) -> None:
    """Raises Fenced unless this Redis, which is not empty, continues what the ledger has."""
    recorded = position.seq if position else 0
    if sight.rebuilding:
        raise Fenced("Redis is being rebuilt", SOON_SECONDS, cause="lost")
    if sight.seq is None:
        raise _lost(f"Redis is empty, the ledger has {recorded} entries")
    if position and sight.epoch is not None and sight.epoch > position.epoch:
        raise _behind(f"Redis is in epoch {sight.epoch}, the ledger in {position.epoch}")
    if sight.seq > recorded:
        await _compare_tail(wire, keys, position)
    if sight.epoch is None:
        raise _lost("Redis is fenced")
    if position and sight.epoch < position.epoch:
        raise _lost(f"Redis is in epoch {sight.epoch}, the ledger in {position.epoch}")
    if sight.seq < recorded:
        raise _lost(f"Redis lost writes: it ends at {sight.seq}, the ledger at {recorded}")
    if position and sight.seq == recorded and sight.digest != position.digest:
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


def _lost(reason: str) -> Fenced:
    return Fenced(reason, _LATER_SECONDS, cause="lost")


def _behind(reason: str) -> Fenced:
    return Fenced(f"the ledger is behind: {reason}", cause="ledger-behind")


class Opening:
    """Greets new connections; remembers which Redis it has compared."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._run_id = ""
        self._witness: Witness | None = None
        self._refused: Fenced | None = None
        self.epoch = 0

    def trust(self, witness: Witness) -> None:
        self._witness = witness

    def doubt(self) -> None:
        """Redis has answered from another epoch: look again."""
        self._run_id, self.epoch = "", 0

    @property
    def refused(self) -> bool:
        """Whether the last Redis looked at was refused."""
        return self._refused is not None

    def knows(self, epoch: bytes | None) -> bool:
        """Whether this is the epoch that was compared: an emptied Redis has none."""
        return epoch is not None and int(epoch) == self.epoch

    def check(self) -> None:
        """Raises Fenced while the last Redis looked at was refused."""
        if self._refused is not None:
            fence = self._refused
            raise Fenced(fence.reason, fence.retry_after_seconds, cause=fence.cause)

    async def greet(self, wire: Wire) -> None:
        """Raises Fenced unless this Redis continues what the ledger has."""
        try:
            await self._meet(wire)
        except Fenced as fence:
            if self._refused is None or self._refused.reason != fence.reason:
                log.error("redis_fenced", reason=fence.reason, cause=fence.cause)
            self._refused = fence
            raise
        self._refused = None

    async def _meet(self, wire: Wire) -> None:
        sight = await look(wire, self._keys)
        if sight.rebuilding:
            raise Fenced("Redis is being rebuilt", SOON_SECONDS, cause="lost")
        if sight.run_id == self._run_id and sight.epoch is not None and sight.epoch == self.epoch:
            return
        if self._witness is None:
            raise Fenced("the ledger has not been asked yet")
        try:
            position = await self._witness.position()
        except Exception as fault:
            if sight.epoch is None:
                raise Fenced("Redis is empty or fenced, and the ledger can't be asked") from fault
            if self._run_id and self._run_id != sight.run_id:
                raise Fenced("another Redis answers, and the ledger can't be asked") from fault
            log.warning("opened_without_ledger", run_id=sight.run_id, reason=str(fault))
            self._run_id, self.epoch = sight.run_id, sight.epoch
            return
        try:
            sight = await self._agree(wire, self._witness, position)
            epoch = sight.epoch or 0
            await self._witness.open(epoch, sight.run_id)
        except (Fenced, Unavailable):
            raise
        except Exception as fault:
            raise Unavailable("the ledger went away while Redis was compared") from fault
        self._run_id, self.epoch = sight.run_id, epoch
        log.info("redis_opened", run_id=sight.run_id, epoch=epoch, seq=sight.seq)

    async def _agree(self, wire: Wire, witness: Witness, position: Position | None) -> Sight:
        """The Redis, looked at once more now that the position is known: it may only be ahead."""
        sight = await look(wire, self._keys)
        if sight.seq is None and not sight.rebuilding and position is None:
            # The ledger first: from then on a Redis that is empty has lost something.
            if await witness.begin(FIRST_EPOCH):
                await self._initialise(wire)
            return await self._agree(wire, witness, await witness.position())
        try:
            await compare(wire, self._keys, sight, position)
        except Fenced as fence:
            if fence.cause != "ledger-behind":
                raise
            # Or the ledger was ahead of us: while we looked, entries were recorded and let go of.
            later = await witness.position()
            if later == position:
                raise
            return await self._agree(wire, witness, later)
        return sight

    async def _initialise(self, wire: Wire) -> None:
        """The first start ever: an empty Redis and a ledger that knows of none."""
        fields = {"seq": 0, "digest": "", "time": 0, "rotated_at": 0, "epoch": FIRST_EPOCH}
        requests = [("HSETNX", self._keys.meta, name, value) for name, value in fields.items()]
        await wire.exchange([("MULTI",), *requests, ("EXEC",)])
