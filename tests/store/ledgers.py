"""The ledger's positions held in the hand, for tests about Redis alone."""

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Position:
    epoch: int
    seq: int
    digest: str
    run_id: str = ""


@dataclass
class LedgerInHand:
    """The position of one partition, whichever; `away` makes it fail as the ledger does."""

    last: Position | None = None
    away: bool = False
    opened: list[tuple[int, str]] = field(default_factory=list)

    async def position(self, partition: int) -> Position | None:
        if self.away:
            raise ConnectionError("the ledger is away")
        return self.last

    async def begin(self, partition: int, epoch: int) -> bool:
        if self.last is not None:
            return False
        self.last = Position(epoch, 0, "")
        return True

    async def open(self, partition: int, epoch: int, run_id: str) -> None:
        self.opened.append((epoch, run_id))


class LedgerOfAll:
    """The positions of all partitions of a store."""

    def __init__(self) -> None:
        self._of: defaultdict[int, LedgerInHand] = defaultdict(LedgerInHand)

    async def position(self, partition: int) -> Position | None:
        return await self._of[partition].position(partition)

    async def begin(self, partition: int, epoch: int) -> bool:
        return await self._of[partition].begin(partition, epoch)

    async def open(self, partition: int, epoch: int, run_id: str) -> None:
        await self._of[partition].open(partition, epoch, run_id)
