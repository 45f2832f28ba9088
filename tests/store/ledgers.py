"""What stands in for the ledger where a test is about Redis alone: a position held in the hand."""

from dataclasses import dataclass, field


@dataclass
class Position:
    epoch: int
    seq: int
    digest: str
    run_id: str = ""


@dataclass
class Witness:
    """Says the position it was given; `away` makes it fail as the ledger does."""

    last: Position | None = None
    away: bool = False
    opened: list[tuple[int, str]] = field(default_factory=list)

    async def position(self) -> Position | None:
        if self.away:
            raise ConnectionError("the ledger is away")
        return self.last

    async def begin(self, epoch: int) -> bool:
        if self.last is not None:
            return False
        self.last = Position(epoch, 0, "")
        return True

    async def open(self, epoch: int, run_id: str) -> None:
        self.opened.append((epoch, run_id))
