"""One partition of stock in Redis: changes go through its door, reads see what the door decides on.

Its parts: `door` decides commands, `reads` returns values, `journal` is the recorder's.
"""

from collections.abc import Sequence

from atp_service.inventory.commands import Command
from atp_service.inventory.outcomes import Outcome
from atp_service.store.connection import Reader, Wire
from atp_service.store.door import Door
from atp_service.store.epoch_guard import EpochGuard, Positions
from atp_service.store.journal import Journal
from atp_service.store.keys import keys_of
from atp_service.store.open_lines import OpenLines
from atp_service.store.raw_partition import Site
from atp_service.store.reads import Reads
from atp_service.store.scan import Walk
from atp_service.store.script import Script, production_script


class Partition:
    """The partition `number`. The guard compares each new connection with the ledger."""

    def __init__(
        self,
        redis_url: str,
        number: int,
        *,
        name: str = "atp",
        window_ms: int = 86_400_000,
        script: Script | None = None,
        guard: EpochGuard | None = None,
    ) -> None:
        self.number = number
        self.keys = keys_of(number)
        self.guard = guard or EpochGuard(number, self.keys)
        self._redis_url = redis_url
        self._name = name
        self._door = Door(
            self._wire("door"),
            self.guard,
            self.keys,
            script or production_script(),
            partition=number,
            window_ms=window_ms,
        )
        self.reads = Reads(Reader(self._wire("read")), self._wire("probe"), self.guard, self.keys)
        self.open_lines = OpenLines(self.reads.unguarded, number)
        # Not guarded: what the journal has is recorded, whether or not Redis may promise.
        self.journal = Journal(
            self.reads.unguarded,
            Wire(redis_url, name=f"{name}-journal"),
            Reader(Wire(redis_url, name=f"{name}-trim")),
            self.keys,
        )

    def _wire(self, purpose: str) -> Wire:
        name = f"{self._name}-{purpose}"
        return Wire(self._redis_url, name=name, on_connect=self.guard.on_connect)

    @property
    def epoch(self) -> int:
        """The epoch that was compared with the ledger; 0 while none is."""
        return self.guard.epoch

    @property
    def waiting(self) -> int:
        """Commands in the door's queue."""
        return self._door.waiting

    async def open(self, ledger: Positions) -> None:
        """Compare Redis with the ledger, and begin a new Redis at its first epoch.

        Raises Fenced if they don't belong together, Unavailable if Redis is away. The partition
        may be used all the same: it compares again on the next command.
        """
        self.guard.set_ledger(ledger)
        await self._door.connect()

    async def apply(self, command: Command) -> Outcome:
        """The command's outcome. Raises Unavailable or Fenced; then a retry makes it definite."""
        return (await self._door.apply_all((command,)))[0]

    async def apply_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """The outcomes, in the order of the commands. Raises as `apply` does."""
        return await self._door.apply_all(commands)

    async def fence(self, epoch: int) -> bool:
        """Take the epoch away from Redis, if it is still this one: it promises nothing then."""
        site = Site(self._redis_url, name=self._name, partition=self.number)
        try:
            return await site.fence(epoch)
        finally:
            await site.close()

    def walk(self) -> Walk:
        """Raw reads on a wire of their own; the caller closes it."""
        return Walk(self._wire("walk"), self.guard, self.keys)

    async def close(self) -> None:
        await self._door.close()
        await self.reads.close()
        await self.journal.close()
