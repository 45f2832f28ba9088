"""A count is merged with what happened since it was taken.

Its command carries the sum of the on_hand deltas that happened after the count, whenever they
were told: from the ledger up to its position, from the journal beyond. The script accepts the sum
as long as the level's counter of on_hand changes is still the one that was read with it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from atp_service.inventory.commands import Count, Fact, decode_command
from atp_service.inventory.journal import Entry, decode_head
from atp_service.inventory.stock import level_field
from atp_service.ledger import Ledger, Unavailable
from atp_service.store import Store

PAGE: Final = 1_000
LONGEST_TAIL: Final = 50_000  # beyond, the recorder has to catch up first
ATTEMPTS: Final = 5


async def merged(counts: Sequence[Count], store: Store, ledger: Ledger) -> list[Count | None]:
    """The counts in the same order, each with its deltas and the level's counter.

    None where the ledger is needed, and away.
    """
    # The counter first: whatever changes later than this makes the script say Moved.
    levels = await store.levels([(count.sku, count.location) for count in counts])
    read = [
        msgspec.structs.replace(count, moves=level.moves if level is not None else 0)
        for count, level in zip(counts, levels, strict=True)
    ]
    # Where on_hand has never changed there is nothing to add up, and nobody to ask.
    moved = [count for count in read if count.moves]
    try:
        sums = iter(await _deltas_after(moved, store, ledger))
    except Unavailable:
        return [None if count.moves else count for count in read]
    return [
        msgspec.structs.replace(count, deltas_after=next(sums)) if count.moves else count
        for count in read
    ]


async def _deltas_after(counts: Sequence[Count], store: Store, ledger: Ledger) -> list[int]:
    if not counts:
        return []
    for _ in range(ATTEMPTS):
        recorded = [
            await ledger.deltas_after(count.sku, count.location, count.occurred_at_ms)
            for count in counts
        ]
        tail = await _tail(store, min(seq for seq, _ in recorded))
        if tail is not None:
            return [
                units + _told_later(count, seq, tail)
                for count, (seq, units) in zip(counts, recorded, strict=True)
            ]
    raise Unavailable("the journal was trimmed while it was read")


async def _tail(store: Store, after_seq: int) -> list[Entry] | None:
    """What the ledger doesn't have yet; None where the recorder has trimmed it meanwhile."""
    tail: list[Entry] = []
    seq = after_seq
    while page := await store.journal(seq, PAGE):
        if page[0].seq != seq + 1:
            return None
        tail += page
        seq = page[-1].seq
        if len(tail) > LONGEST_TAIL:
            raise Unavailable(f"the ledger is more than {LONGEST_TAIL} entries behind")
    return tail


def _told_later(count: Count, after_seq: int, tail: Sequence[Entry]) -> int:
    """Deltas of the count's level in the tail that happened after the count."""
    image = f"l{level_field(count.sku, count.location)}"
    return sum(
        _delta(entry, image, count.occurred_at_ms)
        for entry in tail
        if entry.seq > after_seq and any(name == image for name, _ in entry.images)
    )


def _delta(entry: Entry, image: str, after_ms: int) -> int:
    head = decode_head(entry.head)
    if not head.on_hand_deltas:
        return 0
    command = decode_command(entry.command)
    happened_at_ms = command.occurred_at_ms if isinstance(command, Fact) else head.at_ms
    if happened_at_ms <= after_ms:
        return 0
    levels = [name for name, _ in entry.images if name[0] == "l"]
    return head.on_hand_deltas[levels.index(image)]
