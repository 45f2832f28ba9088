"""A retailer for each test, on an empty Redis and a ledger of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from atp_service.embedded.postgres import Postgres
from tests.facts.trade import Retailer, fresh_database, retailer


@pytest.fixture
def ledger_url(_postgres_server: Postgres) -> Iterator[str]:
    with fresh_database(_postgres_server) as url:
        yield url


@pytest.fixture
async def shop(redis_url: str, ledger_url: str) -> AsyncIterator[Retailer]:
    async with retailer(redis_url, ledger_url) as running:
        yield running
