"""Is this the Redis the ledger knows? Asked on every new connection, before anything is decided.

And asked again when an answer shows another epoch. Redis may have been emptied, restored from an
old copy, or failed over to a replica that missed writes. Its tail is compared with the ledger's
position; whoever does not continue the ledger is fenced.
"""

from typing import Any, Protocol

import structlog

from atp_service.store.faults import Fenced, Unavailable
from atp_service.store.keys import Keys
from atp_service.store.wire import Wire

log = structlog.get_logger()

FIRST_EPOCH = 1


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
    """The ledger, as far as the opening needs it. Both may raise when it is away."""

    async def position(self) -> Position | None: ...

    async def open(self, epoch: int, run_id: str) -> None: ...


class Opening:
    """Greets new connections; remembers which Redis it has compared."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._run_id = ""
        self._witness: Witness | None = None
        self._refused: str | None = None
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
            raise Fenced(self._refused)

    async def greet(self, wire: Wire) -> None:
        """Raises Fenced unless this Redis continues what the ledger has."""
        try:
            await self._meet(wire)
        except Fenced as fence:
            if self._refused != fence.reason:
                log.error("redis_fenced", reason=fence.reason)
            self._refused = fence.reason
            raise
        self._refused = None

    async def _meet(self, wire: Wire) -> None:
        meta, run_id = await self._look(wire)
        if run_id == self._run_id and meta[0] is not None and int(meta[0]) == self.epoch:
            return
        if self._witness is None:
            raise Fenced("the ledger has not been asked yet")
        try:
            position = await self._witness.position()
        except Exception as fault:
            if meta[0] is None:
                raise Fenced("Redis is empty, and the ledger can't be asked") from fault
            if self._run_id and self._run_id != run_id:
                raise Fenced("another Redis answers, and the ledger can't be asked") from fault
            log.warning("opened_without_ledger", run_id=run_id, reason=str(fault))
            self._run_id, self.epoch = run_id, int(meta[0])
            return
        if meta[0] is None:
            if position is not None and position.seq > 0:
                raise Fenced(f"Redis is empty, the ledger has {position.seq} entries")
            meta = await self._initialise(wire, position.epoch if position else FIRST_EPOCH)
        await self._compare(wire, meta, position)
        try:
            await self._witness.open(int(meta[0]), run_id)
        except Exception as fault:
            raise Unavailable("the ledger went away while Redis was compared") from fault
        self._run_id, self.epoch = run_id, int(meta[0])
        log.info("redis_opened", run_id=run_id, epoch=self.epoch, seq=int(meta[1]))

    async def _look(self, wire: Wire) -> tuple[list[Any], str]:
        request = ("HMGET", self._keys.meta, "epoch", "seq", "digest")
        meta, server = await wire.exchange([request, ("INFO", "server")])
        if not isinstance(meta, list):
            raise Unavailable(str(meta))
        lines = server.decode().splitlines()
        return meta, next(x.partition(":")[2] for x in lines if x.startswith("run_id:"))

    async def _initialise(self, wire: Wire, epoch: int) -> list[Any]:
        """A first start: an empty Redis and a ledger without entries."""
        fields = {"seq": 0, "digest": "", "time": 0, "rotated_at": 0, "epoch": epoch}
        requests = [("HSETNX", self._keys.meta, name, value) for name, value in fields.items()]
        await wire.exchange([("MULTI",), *requests, ("EXEC",)])
        return (await self._look(wire))[0]

    async def _compare(self, wire: Wire, meta: list[Any], position: Position | None) -> None:
        epoch, seq, digest = int(meta[0]), int(meta[1]), meta[2].decode()
        recorded = position.seq if position else 0
        if position and position.epoch != epoch:
            raise Fenced(f"Redis is in epoch {epoch}, the ledger in {position.epoch}")
        if seq < recorded:
            raise Fenced(f"Redis lost writes: it ends at {seq}, the ledger at {recorded}")
        if position and seq == recorded and digest != position.digest:
            raise Fenced(f"Redis and the ledger differ at entry {seq}")
        if seq == recorded:
            return
        # The recorder leaves the last entry it recorded, so that it can be compared.
        start = f"{max(1, recorded)}-0"
        (first,) = await wire.exchange([("XRANGE", self._keys.journal, start, "+", "COUNT", 1)])
        if not first or first[0][0] != start.encode():
            raise Fenced(f"the journal does not reach back to entry {max(1, recorded)}")
        if position and recorded and first[0][1][-1].decode() != position.digest:
            raise Fenced(f"Redis and the ledger differ at entry {recorded}")
