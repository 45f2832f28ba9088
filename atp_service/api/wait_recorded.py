"""Waiting until the ledger has what Redis had when the call came."""

from atp_service.ledger import Ledger
from atp_service.store import Store

PATIENCE_SECONDS = 2.0


async def recorded_now(store: Store, ledger: Ledger) -> None:
    """Returns once it has; raises Unavailable if it doesn't soon, or Redis's own faults."""
    entries = await store.last_entries()
    # A hanging Postgres shows at a query: the next callers are then refused at once.
    await ledger.ping()
    for entry in entries:
        await ledger.wait_for(entry, PATIENCE_SECONDS)
