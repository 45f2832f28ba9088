"""A count or a snapshot's line is merged with the on_hand changes that happened after it.

Its command carries the sum of those changes, whenever they arrived: from the ledger up to its
position, from the journal beyond. The script accepts the sum as long as the level's counter of
on_hand changes is still the one that was read with it.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from atp_service.inventory.commands import Count, Snapshot
from atp_service.inventory.journal import LEVEL, Entry, decode_fields, decode_head
from atp_service.inventory.stock import level_field
from atp_service.ledger import Ledger
from atp_service.postgres import Unavailable
from atp_service.store import Partition, Store

PAGE: Final = 1_000
# Beyond, the recorder has to catch up first. It has up to two transactions of 4,000 in hand.
LONGEST_TAIL: Final = 10_000
ATTEMPTS: Final = 5

Observed = Count | Snapshot
Waits = Literal["ledger-away", "ledger-behind"]


class Mergings:
    """Merges the counts and lines of one call, each in the partition of its SKU."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._of = {one.number: Merging(one, ledger) for one in store.partitions}

    async def merged(self, observed: Sequence[Observed]) -> list[Observed | Waits]:
        """As `Merging.merged`."""
        parts: dict[int, list[Observed]] = {}
        for one in observed:
            parts.setdefault(self._store.partition_of(one.sku).number, []).append(one)
        found = {n: iter(await self._of[n].merged(part)) for n, part in parts.items()}
        return [next(found[self._store.partition_of(one.sku).number]) for one in observed]


class Merging:
    """Merges the counts and lines of one call in a partition, as often as it takes.

    The ledger may be far behind, and other facts of the call wait meanwhile. So the journal beyond
    the ledger is read once, and then only its newer entries. Once the ledger is away or too far
    behind, all later counts and lines of the call wait.
    """

    def __init__(
        self, partition: Partition, ledger: Ledger, *, longest_tail: int = LONGEST_TAIL
    ) -> None:
        self._partition = partition
        self._ledger = ledger
        self._tail = _Tail(partition, longest_tail)
        self._waits: Waits | None = None

    async def merged(self, observed: Sequence[Observed]) -> list[Observed | Waits]:
        """The commands in the same order, each with its deltas and the level's counter; or why it
        has to wait for the ledger. Raises the store's Unavailable or Fenced."""
        # The counter first: a later change of on_hand then makes the outcome Moved.
        levels = await self._partition.reads.levels([(one.sku, one.location) for one in observed])
        read = [
            msgspec.structs.replace(one, moves=level.moves if level is not None else 0)
            for one, level in zip(observed, levels, strict=True)
        ]
        # If on_hand has never changed there is nothing to add up, and no ledger to ask.
        moved = [one for one in read if one.moves]
        sums = await self._sums(moved) if moved else []
        if not isinstance(sums, list):
            return [sums if one.moves else one for one in read]
        found = iter(sums)
        return [
            msgspec.structs.replace(one, deltas_after=next(found)) if one.moves else one
            for one in read
        ]

    async def _sums(self, observed: Sequence[Observed]) -> list[int] | Waits:
        if self._waits is None:
            try:
                return await self._deltas_after(observed)
            except _Behind:
                self._waits = "ledger-behind"
            except Unavailable:
                self._waits = "ledger-away"
        return self._waits

    async def _deltas_after(self, observed: Sequence[Observed]) -> list[int]:
        asked = [(one.sku, one.location, one.occurred_at_ms) for one in observed]
        for _ in range(ATTEMPTS):
            seq, recorded = await self._ledger.deltas_after(self._partition.number, asked)
            if await self._tail.reaches_back_to(seq):
                return [
                    units + self._tail.deltas_after(seq, one)
                    for one, units in zip(observed, recorded, strict=True)
                ]
        raise Unavailable("the journal was trimmed while it was read")


class _Behind(Exception):
    """The ledger is so far behind that reading the rest would hold up other facts."""


class _Delta(NamedTuple):
    seq: int
    happened_at_ms: int
    units: int


class _Tail:
    """The on_hand changes of entries that the ledger does not have yet: those of one epoch after
    `_after`, up to `_through`."""

    def __init__(self, partition: Partition, longest: int) -> None:
        self._partition = partition
        self._longest = longest
        self._epoch = self._after = self._through = 0
        self._deltas: defaultdict[str, list[_Delta]] = defaultdict(list)

    async def reaches_back_to(self, seq: int) -> bool:
        """Whether all entries after this one are read; not if the recorder has trimmed some of them
        meanwhile. Raises _Behind."""
        last = await self._partition.reads.last_entry()
        if last.seq - seq > self._longest:
            raise _Behind
        if self._epoch != last.epoch or not self._after <= seq < self._through:
            self._deltas.clear()
            self._epoch, self._after, self._through = last.epoch, seq, seq
        while self._through < last.seq:
            page = await self._partition.journal.entries(self._through, PAGE)
            if not page or page[0].seq != self._through + 1:
                return False
            for entry in page:
                self._take(entry)
            self._through = page[-1].seq
        return True

    def deltas_after(self, seq: int, observed: Observed) -> int:
        """Units by which on_hand changed in later entries that happened after the observation."""
        return sum(
            delta.units
            for delta in self._deltas.get(level_field(observed.sku, observed.location), ())
            if delta.seq > seq and delta.happened_at_ms > observed.occurred_at_ms
        )

    def _take(self, entry: Entry) -> None:
        head = decode_head(entry.head)
        if not head.on_hand_deltas:
            return
        # Nothing happened later than it was entered: a feed's clock may be ahead of ours.
        occurred_at_ms = decode_fields(entry.command).occurred_at_ms or head.at_ms
        happened_at_ms = min(occurred_at_ms, head.at_ms)
        for name, units in zip(entry.keys(LEVEL), head.on_hand_deltas, strict=True):
            self._deltas[name].append(_Delta(entry.seq, happened_at_ms, units))
