"""The embedded servers: real, safe with the data, and quick to come back."""

from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client as NatsClient
from redis import Redis as SyncRedis
from redis.asyncio import Redis


async def test_a_hold_that_was_answered_is_on_disk(redis: Redis) -> None:
    assert await redis.config_get("append[of][ns]*[yc]") == {
        "appendonly": "yes",
        "appendfsync": "always",
    }
    assert await redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_valkey_runs_on_mimalloc(redis_url: str) -> None:
    with SyncRedis.from_url(redis_url, protocol=2) as redis:
        server = redis.info("server")["process_id"]
    assert "/libmimalloc.so" in Path(f"/proc/{server}/maps").read_text()


async def test_events_are_kept_in_streams(empty_nats: NatsClient) -> None:
    jetstream = empty_nats.jetstream()
    await jetstream.add_stream(name="EVENTS", subjects=["events.>"])
    stored = await jetstream.publish("events.pos", b"{}")
    assert (stored.stream, stored.seq) == ("EVENTS", 1)


def test_the_service_may_not_rewrite_the_ledger(database_url: str) -> None:
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM entries")


def test_ids_compare_by_bytes(superuser_url: str) -> None:
    with psycopg.connect(superuser_url) as connection:
        row = connection.execute(
            "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row == ("C.UTF-8",)
