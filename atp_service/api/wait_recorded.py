"""Waiting until the ledger has what Redis had when the call came."""

from atp_service.ledger import Ledger
from atp_service.store import Store

PATIENCE_SECONDS = 2.0


async def recorded_now(store: Store, ledger: Ledger) -> None:
    """Returns once it has; raises Unavailable if it doesn't soon, or Redis's own faults."""
    seq = await store.last_seq()
    if seq:
        # Who waits to be told would not find out that Postgres hangs; who asks it does, and the
        # next ones are refused at once.
        await ledger.position()
        await ledger.wait_for(store.epoch, seq, PATIENCE_SECONDS)
