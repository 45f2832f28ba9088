"""A rebuilt Redis has what it had: the same bytes under the same names, and the same memory.

How it tries: random trade over few names, whatever the script makes of it; then everything is
taken from the ledger, and compared with what was there before.
"""

import asyncio
import time

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from msgspec import structs
from redis.asyncio import Redis

from atp_service.embedded.postgres import Postgres
from atp_service.inventory.commands import Command, Fact, Receipt, Shipment
from atp_service.workers import rebuild
from tests.inventory.agreement import START, Step
from tests.inventory.histories import histories
from tests.retailer import DC, WAREHOUSE, fresh_database, retailer
from tests.workers.rebuild.rebuild_setup import contents, hold, tools

HISTORIES = 15


@pytest.fixture(scope="module")
def servers(_redis_server: str, _postgres_server: Postgres) -> tuple[str, Postgres]:
    return _redis_server, _postgres_server


@settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate],  # a history is a second's work: shrinking one would take long
)
@given(history=histories)
def test_what_is_rebuilt_is_what_was_there(
    servers: tuple[str, Postgres], history: list[Step]
) -> None:
    steps = [[_of_today(c) for c in step.commands if isinstance(c, Command)] for step in history]
    redis_url, postgres = servers
    with fresh_database(postgres) as database_url:
        asyncio.run(_rebuilt(redis_url, database_url, steps))


def test_a_shipment_that_came_just_before_its_hold_was_not_the_hold_s(
    servers: tuple[str, Postgres],
) -> None:
    """Both in one call, and so in the same millisecond."""
    left = Shipment(
        source=WAREHOUSE,
        event_id="left",
        occurred_at_ms=time.time_ns() // 1_000_000,
        sku="SKU-1",
        location=DC,
        quantity=1,
        shipment_id="truck-1",
        reservation_id="cart",
    )
    received = Receipt(
        source=WAREHOUSE,
        event_id="received",
        occurred_at_ms=left.occurred_at_ms,
        sku="SKU-1",
        location=DC,
        quantity=9,
    )
    again = structs.replace(left, event_id="left again", shipment_id="truck-2")
    redis_url, postgres = servers
    with fresh_database(postgres) as database_url:
        asyncio.run(_rebuilt(redis_url, database_url, [[received, left, hold("cart"), again]]))


async def _rebuilt(redis_url: str, database_url: str, steps: list[list[Command]]) -> None:
    async with Redis.from_url(redis_url, protocol=2) as redis:
        await redis.flushall()
        async with retailer(redis_url, database_url) as shop:
            async with shop.recording(database_url):
                for commands in steps:
                    await shop.store.apply_all(commands)
            before = await contents(redis)
            report = await rebuild.rebuild(tools(shop, redis_url, database_url), by_hand=True)
            assert report is not None
            assert (report.epoch, report.fork_commands) == (2, 0)
            after = await contents(redis)
            # A feed may have been heard of by what left no entry: that is not remembered.
            feeds, heard = after.pop("feeds"), before.pop("feeds")
            assert all(pair <= heard[feed] for feed, pair in feeds.items())
            for kind, was in before.items():
                assert after[kind] == was, kind
            with psycopg.connect(database_url) as connection:
                assert connection.execute("SELECT epoch FROM positions").fetchone() == (2,)


def _of_today(command: Command) -> Command:
    """Histories are told on a clock of their own."""
    if isinstance(command, Fact):
        happened = time.time_ns() // 1_000_000 + command.occurred_at_ms - START - 20_000
        return structs.replace(command, occurred_at_ms=happened)
    return command
