"""Reservations, orders and their deadlines.

Redis is a function of the journal. So each value and each deadline must be the ledger's, byte for
byte, as of the entry that was Redis's latest when it was read.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct

from atp_service.inventory.commands import Command, RepairOrder, RepairReservation
from atp_service.inventory.journal import ORDER, RESERVATION
from atp_service.inventory.retention import order_due_at, reservation_due_at
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.reconciliations import Drift, Kind
from atp_service.workers.reconcile.raw_values import read_order, read_reservation, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference


class Documents(Struct, frozen=True):
    """How reservations and orders differ. `member` begins the name of a deadline; `repair` takes
    the id, the value found and the right one."""

    kind: as_of_entry.Kind
    drift_kind: Kind
    id_field: str
    member: str
    read: Callable[[bytes | None], Any]
    due_at: Callable[[Any], int | None]
    repair: Callable[[str, Any, Any], Command]

    def members(self, keys: Sequence[str]) -> list[str]:
        return [f"{self.member}{key}" for key in keys]

    def image_due_at(self, image: bytes | None) -> int | None:
        """When it is due by its image; None if there is none, or it can't be read."""
        value = self.read(image)
        return None if value is None else self.due_at(value)


RESERVATIONS: Final = Documents(
    kind="reservations",
    drift_kind="reservation",
    id_field="reservation_id",
    member=RESERVATION,
    read=read_reservation,
    due_at=reservation_due_at,
    repair=lambda key, found, right: RepairReservation(
        reservation_id=key, found_seq=None if found is None else found.seq, right=right
    ),
)
ORDERS: Final = Documents(
    kind="orders",
    drift_kind="order",
    id_field="order_id",
    member=ORDER,
    read=read_order,
    due_at=order_due_at,
    repair=lambda key, found, right: RepairOrder(order_id=key, found=found, right=right),
)


async def compare_recorded(run: Comparison, of: Documents) -> None:
    """All that Redis must have by the ledger, in the order of ids, with the deadlines."""
    after = ""
    while page := await as_of_entry.documents_after(run.ledger, run.number, of.kind, after, PAGE):
        ids = list(page)
        values, deadlines = await run.walk.with_deadlines(of.kind, ids, of.members(ids))
        suspects = [
            key
            for key, value, at_ms in zip(ids, values, deadlines, strict=True)
            if value != page[key] or at_ms != of.image_due_at(value)
        ]
        await run.resolve(suspects, partial(_examine, run, of))
        run.report.compared.add(of.kind, len(ids))
        await run.rest()
        after = ids[-1]


async def compare_kept(run: Comparison, of: Documents) -> None:
    """All that Redis has: the ledger may have no such document."""
    async for named in run.named(of.drift_kind, run.walk.scan(of.kind, PAGE)):
        images = await as_of_entry.documents(run.ledger, run.number, of.kind, list(named))
        suspects = [key for key, value in named.items() if images.get(key) != value]
        await run.resolve(suspects, partial(_examine, run, of))


async def compare_kept_deadlines(run: Comparison) -> None:
    """Deadlines of nothing, or at another time. A missing one has been found before."""
    async for named in run.named("deadline", run.walk.scan_deadlines(PAGE)):
        deadlines: dict[str, dict[str, float]] = {RESERVATION: {}, ORDER: {}}
        for member, at_ms in named.items():
            if member[:1] in deadlines:
                deadlines[member[:1]][member[1:]] = at_ms
            else:
                run.add_unnameable("deadline", member.encode())
        for of in (RESERVATIONS, ORDERS):
            found = deadlines[of.member]
            images = await as_of_entry.documents(run.ledger, run.number, of.kind, list(found))
            suspects = [k for k, at_ms in found.items() if at_ms != of.image_due_at(images.get(k))]
            await run.resolve(suspects, partial(_examine, run, of))
        run.report.compared.deadlines += len(named)


async def _examine(
    run: Comparison, of: Documents, keys: Sequence[str]
) -> list[tuple[str, Difference]]:
    moment = await run.moment(**{of.kind: keys}, deadlines=of.members(keys))
    images = await as_of_entry.documents_as_of(run.ledger, run.number, of.kind, keys, moment.seq)
    values = getattr(moment, of.kind)
    return [
        (key, difference)
        for key, value, at_ms, image in zip(keys, values, moment.deadlines, images, strict=True)
        if (difference := _difference(of, key, value, at_ms, image)) is not None
    ]


def _difference(
    of: Documents, key: str, value: bytes | None, at_ms: float | None, image: bytes | None
) -> Difference | None:
    found, right = of.read(value), of.read(image)
    kind, seen, expected = of.drift_kind, shown(value, found), shown(image, right)
    if value == image:
        kind, seen, expected = "deadline", at_ms, of.image_due_at(image)
        if seen == expected:
            return None
    about: dict[str, Any] = {of.id_field: key}
    drift = Drift(kind=kind, found=seen, expected=expected, **about)
    return Difference(drift, of.repair(key, found, right))
