"""A retailer whose Redis is damaged and looked after."""

from collections.abc import AsyncIterator, Iterator

import pytest

from atp_service.embedded.postgres import Postgres
from tests.facts.trade import Retailer, fresh_database, retailer


@pytest.fixture
def postgres(_postgres_server: Postgres) -> Postgres:
    """The server, for tests that shut somebody out."""
    return _postgres_server


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
async def shop(redis_url: str, ledger_url: str) -> AsyncIterator[Retailer]:
    async with retailer(redis_url, ledger_url) as running:
        yield running
