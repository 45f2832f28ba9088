"""What was true at a moment is merged with what happened since: a count, a line of a snapshot.

Its command carries the sum of the on_hand deltas that happened after the moment, whenever they
were told: from the ledger up to its position, from the journal beyond. The script accepts the sum
as long as the level's counter of on_hand changes is still the one that was read with it.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from atp_service.inventory.commands import Count, Fact, Snapshot, decode_command
from atp_service.inventory.journal import Entry, decode_head
from atp_service.inventory.stock import level_field
from atp_service.ledger import Ledger, Unavailable
from atp_service.store import Store

PAGE: Final = 1_000
LONGEST_TAIL: Final = 50_000  # beyond, the recorder has to catch up first
ATTEMPTS: Final = 5

Observed = Count | Snapshot


class _Delta(NamedTuple):
    happened_at_ms: int
    units: int


async def merged(told: Sequence[Observed], store: Store, ledger: Ledger) -> list[Observed | None]:
    """The same in the same order, each with its deltas and the level's counter.

    None where the ledger is needed, and away.
    """
    # The counter first: whatever changes later than this makes the script say Moved.
    levels = await store.levels([(one.sku, one.location) for one in told])
    read = [
        msgspec.structs.replace(one, moves=level.moves if level is not None else 0)
        for one, level in zip(told, levels, strict=True)
    ]
    # Where on_hand has never changed there is nothing to add up, and nobody to ask.
    moved = [one for one in read if one.moves]
    try:
        sums = iter(await _deltas_after(moved, store, ledger))
    except Unavailable:
        return [None if one.moves else one for one in read]
    return [
        msgspec.structs.replace(one, deltas_after=next(sums)) if one.moves else one for one in read
    ]


async def _deltas_after(told: Sequence[Observed], store: Store, ledger: Ledger) -> list[int]:
    if not told:
        return []
    asked = [(one.sku, one.location, one.occurred_at_ms) for one in told]
    for _ in range(ATTEMPTS):
        seq, recorded = await ledger.deltas_after(asked)
        tail = await _tail(store, seq)
        if tail is not None:
            told_later = _deltas_by_level(tail, {(sku, place) for sku, place, _ in asked})
            return [
                units + sum(d.units for d in told_later[sku, place] if d.happened_at_ms > at_ms)
                for (sku, place, at_ms), units in zip(asked, recorded, strict=True)
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


def _deltas_by_level(
    tail: Sequence[Entry], levels: Collection[tuple[str, str]]
) -> defaultdict[tuple[str, str], list[_Delta]]:
    """What changed the on_hand of the levels; each entry is read once, however many they are."""
    pairs = {f"l{level_field(*level)}": level for level in levels}
    found: defaultdict[tuple[str, str], list[_Delta]] = defaultdict(list)
    for entry in tail:
        if any(name in pairs for name, _ in entry.images):
            happened_at_ms, moved = _moved(entry)
            for name, units in moved:
                if name in pairs:
                    found[pairs[name]].append(_Delta(happened_at_ms, units))
    return found


def _moved(entry: Entry) -> tuple[int, list[tuple[str, int]]]:
    """When it happened, and by how many units each level's on_hand changed through it."""
    head = decode_head(entry.head)
    if not head.on_hand_deltas:
        return head.at_ms, []
    command = decode_command(entry.command)
    levels = [name for name, _ in entry.images if name[0] == "l"]
    happened_at_ms = command.occurred_at_ms if isinstance(command, Fact) else head.at_ms
    return happened_at_ms, list(zip(levels, head.on_hand_deltas, strict=True))
