"""Reservations, orders and their deadlines.

Redis is what the journal makes of it, so each value and each deadline must be the ledger's, byte
for byte, as of the entry that was Redis's latest when it was read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from atp_service.inventory.commands import Command, RepairOrder, RepairReservation
from atp_service.inventory.journal import ORDER, RESERVATION
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.read.as_of_entry import Kind
from atp_service.ledger.reconciliations import Drift
from atp_service.workers.reconcile.raw_values import name_in, order_in, reservation_in, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference, unnameable


class Documents(Struct, frozen=True):
    """What reservations and orders have in common. `member` begins the name of a deadline."""

    kind: Kind
    member: str
    read: Callable[[bytes | None], Any]
    due_at: Callable[[Any], int | None]
    drift: Callable[..., Drift]
    repair: Callable[[str, Any, Any], Command]


def _repair_reservation(
    key: str, found: Reservation | None, right: Reservation | None
) -> RepairReservation:
    return RepairReservation(
        reservation_id=key, found_seq=None if found is None else found.seq, right=right
    )


def _repair_order(key: str, found: Order | None, right: Order | None) -> RepairOrder:
    return RepairOrder(order_id=key, found=found, right=right)


RESERVATIONS: Final = Documents(
    kind="reservations",
    member=RESERVATION,
    read=reservation_in,
    due_at=reservation_due_at,
    drift=lambda key, kind=None, **seen: Drift(
        kind=kind or "reservation", reservation_id=key, **seen
    ),
    repair=_repair_reservation,
)
ORDERS: Final = Documents(
    kind="orders",
    member=ORDER,
    read=order_in,
    due_at=order_due_at,
    drift=lambda key, kind=None, **seen: Drift(kind=kind or "order", order_id=key, **seen),
    repair=_repair_order,
)


async def compare(run: Comparison, of: Documents) -> None:
    """All that Redis must have, in the order of ids, with the deadlines."""
    after = ""
    while page := await as_of_entry.documents_after(run.ledger, run.number, of.kind, after, PAGE):
        ids = list(page)
        values, deadlines = await run.walk.with_deadlines(of.kind, ids, _members(of, ids))
        doubtful = [
            key
            for key, value, at_ms in zip(ids, values, deadlines, strict=True)
            if value != page[key] or at_ms != _due_at(of, value)
        ]
        await run.settle(doubtful, lambda keys: _look(run, of, keys))
        run.report.compared.add(of.kind, len(ids))
        await run.rest()
        after = ids[-1]


async def compare_back(run: Comparison, of: Documents) -> None:
    """What Redis has and the ledger does not."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan(of.kind, cursor, PAGE)
        named: dict[str, bytes] = {}
        for raw, value in found:
            key = name_in(raw)
            if key is None:
                await run.settle([raw], unnameable(of.drift("").kind))
            else:
                named[key] = value
        kept = await as_of_entry.documents(run.ledger, run.number, of.kind, list(named))
        doubtful = [key for key, value in named.items() if kept.get(key) != value]
        await run.settle(doubtful, lambda keys: _look(run, of, keys))
        await run.rest()
        if not cursor:
            return


async def compare_deadlines(run: Comparison) -> None:
    """Deadlines that belong to nothing, or are another's. A missing one has been found before."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan_deadlines(cursor, PAGE)
        named: dict[str, dict[str, float]] = {of.member: {} for of in (RESERVATIONS, ORDERS)}
        for raw, at_ms in found:
            member = name_in(raw) or ""
            if member[:1] in named:
                named[member[:1]][member[1:]] = at_ms
            else:
                await run.settle([raw], unnameable("deadline"))
        for of in (RESERVATIONS, ORDERS):
            await _compare_deadlines(run, of, named[of.member])
        run.report.compared.deadlines += len(found)
        await run.rest()
        if not cursor:
            return


async def _compare_deadlines(
    run: Comparison, of: Documents, deadlines: Mapping[str, float]
) -> None:
    kept = await as_of_entry.documents(run.ledger, run.number, of.kind, list(deadlines))
    doubtful = [key for key, at_ms in deadlines.items() if at_ms != _due_at(of, kept.get(key))]
    await run.settle(doubtful, lambda keys: _look(run, of, keys))


async def _look(
    run: Comparison, of: Documents, keys: Sequence[str]
) -> list[tuple[str, Difference]]:
    """Exactly: as of the entry that was Redis's latest when it was read."""
    keys = list(dict.fromkeys(keys))
    moment = await run.moment(**{of.kind: keys}, deadlines=_members(of, keys))
    images = await as_of_entry.documents_as_of(run.ledger, run.number, of.kind, keys, moment.seq)
    values = getattr(moment, of.kind)
    seen = zip(keys, values, moment.deadlines, images, strict=True)
    return [
        (key, difference)
        for key, value, at_ms, image in seen
        if (difference := _difference(of, key, value, at_ms, image)) is not None
    ]


def _difference(
    of: Documents, key: str, value: bytes | None, at_ms: float | None, image: bytes | None
) -> Difference | None:
    found, right = of.read(value), of.read(image)
    due_at = None if right is None else of.due_at(right)
    if value != image:
        drift = of.drift(key, found=shown(value, found), expected=shown(image, right))
    elif at_ms != due_at:
        drift = of.drift(key, kind="deadline", found=at_ms, expected=due_at)
    else:
        return None
    return Difference(drift, of.repair(key, found, right))


def _members(of: Documents, keys: Sequence[str]) -> list[str]:
    return [f"{of.member}{key}" for key in keys]


def _due_at(of: Documents, image: bytes | None) -> int | None:
    """When it is due by its image; None for an image that is not there or can't be read."""
    value = of.read(image)
    return None if value is None else of.due_at(value)
