"""A run on demand: made by a worker, or by this process if no worker takes it up."""

import asyncio
import time
from collections.abc import Callable

from atp_service.ledger import Ledger, reconciliations
from atp_service.ledger.reconciliations import Reconciliation, Scope
from atp_service.postgres import Unavailable
from atp_service.store import Store
from atp_service.workers.reconcile.loop import work_off

WORKER_SECONDS = 3.0  # how long a worker has to take the run up
LOOK_SECONDS = 0.25


async def reconciled(
    store: Store,
    ledger: Ledger,
    database_url: str,
    scope: Scope,
    *,
    repair: bool,
    show: Callable[[Reconciliation], None],
) -> Reconciliation:
    """The run, once it is over; `show` gets its progress. Raises the ledger's `Unavailable`."""
    asked = await reconciliations.request(ledger, scope, repair=repair, asked_by="command")
    working = asyncio.create_task(_work(store, ledger, database_url))
    try:
        while True:
            run = await reconciliations.get(ledger, asked.id)
            if run is None:
                raise Unavailable(f"reconciliation {asked.id} is not in the ledger any more")
            show(run)
            if run.status in ("done", "failed"):
                return run
            if working.done():
                working.result()
                working = asyncio.create_task(_work(store, ledger, database_url))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _work(store: Store, ledger: Ledger, database_url: str) -> None:
    """Leave the run to a worker that has the lease, however long it takes."""
    began = time.monotonic()
    while await reconciliations.any_to_do(ledger):
        if time.monotonic() - began > WORKER_SECONDS:
            async with reconciliations.lease(database_url) as lease:
                if lease is not None:
                    await work_off(store, ledger, lease, asyncio.Event())
        await asyncio.sleep(LOOK_SECONDS)
