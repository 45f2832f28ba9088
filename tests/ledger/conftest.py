"""An empty ledger for each test, in the module's database."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.ledger import Ledger

# Emptied as nobody but a superuser can, who says that triggers do not count.
EMPTY = """
SET session_replication_role = replica;
TRUNCATE positions, entries, movements, events, traces, levels, reservations, orders, parked,
    exceptions, reconciliations;
"""


@pytest.fixture
def empty_ledger(database_url: str, superuser_url: str) -> str:
    """The address of a ledger without a position, for the service's role."""
    with psycopg.connect(superuser_url) as connection:
        connection.execute(EMPTY)
    return database_url


@pytest.fixture
async def ledger(empty_ledger: str) -> AsyncIterator[Ledger]:
    """The empty ledger, its partition 0 opened in epoch 1."""
    async with AsyncConnectionPool(empty_ledger, min_size=1, max_size=3, timeout=2.0) as pool:
        opened = Ledger(pool)
        await opened.open(1, "the-redis")
        yield opened
        await opened.close()
