"""Deadlines that Redis has and that belong to nothing, or come too late."""

from atp_service.ledger.read import as_of_entry
from atp_service.workers.reconcile import orders, reservations
from atp_service.workers.reconcile.raw_values import name_in
from atp_service.workers.reconcile.run import PAGE, Comparison, unnameable


async def compare_back(run: Comparison) -> None:
    """What is missing has been found with the reservations and orders that lack it."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan_deadlines(cursor, PAGE)
        of_reservations: dict[str, float] = {}
        of_orders: dict[str, float] = {}
        for raw, at_ms in found:
            member = name_in(raw) or ""
            match member[:1]:
                case reservations.MEMBER:
                    of_reservations[member[1:]] = at_ms
                case orders.MEMBER:
                    of_orders[member[1:]] = at_ms
                case _:  # neither a reservation's nor an order's
                    await run.settle([raw], unnameable("deadline"))
        kept = await as_of_entry.kept_reservations(run.ledger, run.number, list(of_reservations))
        late = reservations.doubtful_deadlines(run, of_reservations, kept)
        await run.settle(late, lambda keys: reservations.look(run, keys))
        odd = await orders.doubtful_deadlines(run, of_orders)
        await run.settle(odd, lambda keys: orders.look(run, keys))
        run.report.compared.deadlines += len(found)
        await run.rest()
        if not cursor:
            return
