"""All partitions of the stock: each SKU has one, by its CRC-32. With one there is nothing to route.

A cart lives in the partition of its SKUs. A call that names only a reservation asks the partitions
which of them has it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from zlib import crc32

from atp_service.inventory.commands import Command, Fact, Heartbeat, HoldLine, Replace
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.outcomes import Outcome, SpansPartitions
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel
from atp_service.store.epoch_guard import Positions
from atp_service.store.open_lines import OpenLines
from atp_service.store.partition import Partition
from atp_service.store.reads import FeedSeen
from atp_service.store.server_report import ServerReport

Key = TypeVar("Key")
Value = TypeVar("Value")


class Store:
    """Routes to `partitions`. Raises what they raise: Unavailable, or Fenced.

    `own` is a partition that the caller has made; it takes the place of the one of its number.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        partitions: int = 1,
        name: str = "atp",
        window_ms: int = 86_400_000,
        own: Partition | None = None,
    ) -> None:
        self.partitions = tuple(
            own
            if own is not None and own.number == number
            else Partition(redis_url, number, name=name, window_ms=window_ms)
            for number in range(partitions)
        )
        self._first = self.partitions[0]
        self._is_one = partitions == 1

    def partition_of(self, sku: str) -> Partition:
        """The partition that has all levels of the SKU."""
        return self._first if self._is_one else self._of(sku)

    def _of(self, text: str) -> Partition:
        return self.partitions[crc32(text.encode()) % len(self.partitions)]

    def open_lines_of(self, feed: str) -> OpenLines:
        """The lines of the feed's snapshots that came by HTTP and are not applied yet."""
        return self._of(feed).open_lines

    async def open(self, ledger: Positions) -> None:
        """Compare each partition with the ledger; raises the first fault once all are asked."""
        await _all(partition.open(ledger) for partition in self.partitions)

    def apply(self, command: Command) -> Awaitable[Outcome]:
        """The command's outcome: the partition's, or SpansPartitions."""
        if self._is_one:
            return self._first.apply(command)
        return self._apply(command)

    def apply_all(self, commands: Sequence[Command]) -> Awaitable[list[Outcome]]:
        """The outcomes, in the order of the commands. A partition decides its own in that order."""
        if self._is_one:
            return self._first.apply_all(commands)
        return self._apply_all(commands)

    async def _apply(self, command: Command) -> Outcome:
        target = await self._target_of(command, {})
        return target if isinstance(target, SpansPartitions) else await target.apply(command)

    async def _apply_all(self, commands: Sequence[Command]) -> list[Outcome]:
        homes: dict[str, Partition] = {}
        targets = [await self._target_of(command, homes) for command in commands]
        outcomes: list[Any] = list(targets)
        parts: dict[int, list[int]] = {}
        for place, target in enumerate(targets):
            if isinstance(target, Partition):
                parts.setdefault(target.number, []).append(place)
        decided = await _all(
            self.partitions[number].apply_all([commands[place] for place in places])
            for number, places in parts.items()
        )
        for places, found in zip(parts.values(), decided, strict=True):
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome
        return outcomes

    async def _target_of(
        self, command: Command, homes: dict[str, Partition]
    ) -> Partition | SpansPartitions:
        """The partition that decides the command; `homes` has those of holds not decided yet."""
        sku = getattr(command, "sku", None)
        if sku is not None:
            return self.partition_of(sku)
        reservation_id = getattr(command, "reservation_id", None)
        if isinstance(command, Heartbeat):
            return self._of(command.source)
        if isinstance(command, Fact):
            return self._of(f"{command.source}\x1f{command.event_id}")
        if reservation_id is None:
            raise TypeError(f"a partition of its own has to be asked: {type(command).__name__}")
        known = homes.get(reservation_id) or await self._partition_with(reservation_id)
        lines: list[HoldLine] | None = getattr(command, "lines", None)
        if lines is None or not isinstance(lines[0], HoldLine):
            return known or self._of(reservation_id)
        of_lines = [self.partition_of(line.sku) for line in lines]
        home = known if known is not None and isinstance(command, Replace) else of_lines[0]
        outside = [line for line, of in zip(lines, of_lines, strict=True) if of is not home]
        # A hold under an id that another partition has is refused there, as reused.
        if outside:
            return SpansPartitions(outside)
        return homes.setdefault(reservation_id, known or home)

    async def _partition_with(self, reservation_id: str) -> Partition | None:
        """The partition that has the reservation."""
        found = await _all(p.reads.has_reservation(reservation_id) for p in self.partitions)
        return next((p for p, there in zip(self.partitions, found, strict=True) if there), None)

    async def levels(self, pairs: Sequence[tuple[str, str]]) -> list[StockLevel | None]:
        """The levels of (SKU, location) pairs, in order; None if there is none."""
        return await self._by_sku(pairs, lambda pair: pair[0], lambda p: p.reads.levels)

    async def level_images(self, pairs: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """The same, not decoded yet."""
        return await self._by_sku(pairs, lambda pair: pair[0], lambda p: p.reads.level_images)

    async def locations_of(self, skus: Sequence[str]) -> list[list[str]]:
        """The locations at which each SKU has a level; empty if it has none."""
        return await self._by_sku(skus, lambda sku: sku, lambda p: p.reads.locations_of)

    async def _by_sku(
        self,
        keys: Sequence[Key],
        sku_of: Callable[[Key], str],
        read_of: Callable[[Partition], Callable[[Sequence[Key]], Awaitable[list[Value]]]],
    ) -> list[Value]:
        """What each key's partition has of it, in the order of the keys."""
        if self._is_one:
            return await read_of(self._first)(keys)
        parts: dict[int, dict[Key, None]] = {}
        for key in keys:
            parts.setdefault(self.partition_of(sku_of(key)).number, {})[key] = None
        found: dict[Key, Value] = {}
        for number, part in parts.items():
            values = await read_of(self.partitions[number])(list(part))
            found.update(zip(part, values, strict=True))
        return [found[key] for key in keys]

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """The reservation as of now. Raises Unreadable if its value is damaged."""
        if self._is_one:
            return await self._first.reads.reservation(reservation_id)
        found = await _all(p.reads.reservation(reservation_id) for p in self.partitions)
        return next((one for one in found if one is not None), None)

    async def now_ms(self) -> int:
        """Redis's clock, in Unix milliseconds."""
        return await self._first.reads.now_ms()

    async def feeds(self, names: Sequence[str]) -> dict[str, FeedSeen]:
        """Those of the feeds that have been heard of, with the latest of all partitions."""
        if self._is_one:
            return await self._first.reads.feeds(names)
        latest: dict[str, FeedSeen] = {}
        for seen in await _all(p.reads.feeds(names) for p in self.partitions):
            for name, one in seen.items():
                other = latest.get(name, one)
                latest[name] = FeedSeen(
                    max(one.occurred_at_ms, other.occurred_at_ms),
                    max(one.received_at_ms, other.received_at_ms),
                )
        return latest

    async def last_entries(self) -> list[EntryRef]:
        """The latest entry of each partition's journal; seq 0 before the first."""
        return await _all(p.reads.last_entry() for p in self.partitions)

    async def server_reports(self) -> list[ServerReport]:
        """The server's identity, durability and memory, for each partition."""
        return await _all(p.reads.server_report() for p in self.partitions)

    async def close(self) -> None:
        await _all(partition.close() for partition in self.partitions)


async def _all(asked: Iterable[Awaitable[Value]]) -> list[Value]:
    """The results, in order. The first fault is raised when all have ended."""
    results = await asyncio.gather(*asked, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # none is a fault
