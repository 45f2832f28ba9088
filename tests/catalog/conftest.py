"""Two processes' catalogs on one real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from atp_service.catalog import Catalog


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=4, open=False) as opened:
        async with opened.connection() as connection:
            await connection.execute("DELETE FROM locations")
            await connection.execute("DELETE FROM skus")
            await connection.execute("DELETE FROM channels")
            await connection.execute("DELETE FROM feeds")
        yield opened


@pytest.fixture
def catalog(pool: AsyncConnectionPool[Any]) -> Catalog:
    return Catalog(pool)


@pytest.fixture
async def other(pool: AsyncConnectionPool[Any]) -> AsyncIterator[Catalog]:
    """Another process's catalog, kept true by what Postgres tells."""
    following = Catalog(pool)
    task = asyncio.create_task(following.follow())
    await until(lambda: following._loaded)
    yield following
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # somebody else's memory offers no event
            await asyncio.sleep(0.01)
