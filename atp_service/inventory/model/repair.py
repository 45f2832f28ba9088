"""Repairs: values changed in Redis past the script, set right from the ledger.

A repair that comes twice, or late, does no harm: it applies to what was found, or not at all.
Mirrors `lua/repair.lua`.
"""

from atp_service.inventory.commands import AnyCommand, RepairLevel, RepairOrder, RepairReservation
from atp_service.inventory.journal import Notice
from atp_service.inventory.model.stock import (
    Batch,
    append_entry,
    copy_level,
    copy_order,
    copy_reservation,
    level_of,
    locations_of,
    note_sign,
    order_of,
    put_level,
    put_order,
    put_reservation,
    reservation_of,
)
from atp_service.inventory.outcomes import Applied, Moved, Outcome, Unchanged
from atp_service.inventory.retention import order_due_at
from atp_service.inventory.stock import StockLevel, level_field


def settle_repair(
    b: Batch, command: AnyCommand, sku: str, location: str, reference: str, units: int
) -> Outcome:
    """The entry of a repair: for the record and for a person."""
    b.opened.insert(0, Notice("drift", sku, location, reference, units))
    append_entry(b, command)
    return Applied(b.entry())


def is_readable(b: Batch, image: str) -> bool:
    """Whether what stands under the name has its shape."""
    return image not in b.partition.damaged - b.repaired


def mended_locations(b: Batch, sku: str, location: str, has_level: bool) -> tuple[list[str], bool]:
    """The SKU's locations: those on the list that have a level, and this one if it is to have
    one. Returns also whether the list is so already.
    """
    readable = is_readable(b, f"i{sku}")
    known = locations_of(b, sku) if readable else []
    mended, met = [], {location}
    for other in known:
        name = level_field(sku, other)
        if other not in met and (not is_readable(b, f"l{name}") or level_of(b, name)):
            mended.append(other)
        met.add(other)
    if has_level:
        mended.append(location)
    mended.sort()
    return mended, readable and mended == known


def is_as_found(level: StockLevel, found: StockLevel | None) -> bool:
    """The level stands where it was found."""
    return (
        found is not None
        and (level.version, level.updated_at) == (found.version, found.updated_at)
        and level.extras.repaired_at == found.extras.repaired_at
    )


def has_gone_on(level: StockLevel, found: StockLevel | None, right: StockLevel | None) -> bool:
    """The level has moved on since it was found, by changes that add up: no count, no other
    repair.
    """
    return (
        found is not None
        and right is not None
        and level.version > found.version
        and found.extras == right.extras
        and level.extras.counted_at == found.extras.counted_at
        and level.extras.repaired_at == found.extras.repaired_at
    )


def made_good(level: StockLevel, found: StockLevel, right: StockLevel) -> StockLevel:
    """What was wrong with the level's numbers is taken out of what they are now."""
    good = copy_level(level)
    good.on_hand += right.on_hand - found.on_hand
    good.reserved += right.reserved - found.reserved
    good.allocated += right.allocated - found.allocated
    return good


def put_repaired(b: Batch, name: str, level: StockLevel, was: int) -> None:
    """The level as it is to be, as an entry of its own; the damage never was a delta of on_hand."""
    level.extras.repaired_at = level.version + 1
    level.moves += 1
    put_level(b, name, level)
    note_sign(b, name, was, level.on_hand)


def apart(level: StockLevel, found: StockLevel | None) -> StockLevel:
    """What the level becomes is not what was found: the same repair, sent again, finds it gone
    on.
    """
    if found and level.version + 1 == found.version:
        level.version = found.version
    return level


def repair_level(b: Batch, command: RepairLevel) -> Outcome:
    name = level_field(command.sku, command.location)
    found, right = command.found, command.right
    readable = is_readable(b, f"l{name}")
    known = level_of(b, name) if readable else None
    listed, in_place = mended_locations(b, command.sku, command.location, right is not None)
    if not right and readable and not known:
        if in_place:
            return Unchanged()
    elif known and found and right and has_gone_on(known, found, right):
        put_repaired(b, name, made_good(known, found, right), known.on_hand)
    elif not readable or (is_as_found(known, found) if known else not found):
        if right:
            put_repaired(b, name, apart(copy_level(right), found), known.on_hand if known else 0)
        else:
            put_level(b, name, None)
    else:
        return Moved()
    difference = right.on_hand - found.on_hand if found and right else 0
    outcome = settle_repair(b, command, command.sku, command.location, "", difference)
    b.repaired |= {f"l{name}", f"i{command.sku}"}
    b.new_locations[command.sku] = listed
    return outcome


def deadline_of(b: Batch, member: str) -> int | None:
    """When a reservation or order is next to be looked at; None if never."""
    if member in b.new_deadlines:
        return b.new_deadlines[member]
    return b.partition.deadlines.get(member)


def repair_reservation(b: Batch, command: RepairReservation) -> Outcome:
    name, right = command.reservation_id, command.right
    member = f"r{name}"
    readable = is_readable(b, member)
    known = reservation_of(b, name) if readable else None
    if not right and readable and not known:
        if deadline_of(b, member) is None:
            return Unchanged()
    elif readable and (known.seq if known else None) != command.found_seq:
        return Moved()
    put_reservation(b, name, copy_reservation(right) if right else None)
    outcome = settle_repair(b, command, "", "", name, 0)
    b.repaired.add(member)
    return outcome


def repair_order(b: Batch, command: RepairOrder) -> Outcome:
    name, right = command.order_id, command.right
    member = f"o{name}"
    readable = is_readable(b, member)
    known = order_of(b, name) if readable else None
    due_at = order_due_at(right) if right else None
    if readable and known == right and deadline_of(b, member) == due_at:
        return Unchanged()
    if readable and known != command.found:
        return Moved()
    put_order(b, name, copy_order(right) if right else None)
    outcome = settle_repair(b, command, "", "", name, 0)
    b.repaired.add(member)
    return outcome
