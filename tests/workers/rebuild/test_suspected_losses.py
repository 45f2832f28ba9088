"""The event stream beside a Redis that may have lost writes: no checkpoint relies on that Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from atp_service.embedded.valkey import Valkey
from atp_service.facts import Arrival, EventResult, Facts
from atp_service.ledger.stream_checkpoints import PendingReplay, pending_replay
from atp_service.processes.child import Child
from atp_service.store.raw_partition import Site
from atp_service.workers.rebuild.stream.follower import StreamFollower
from tests.retailer import Retailer, event, until
from tests.workers.ingest.conftest import Stream, stream, worker
from tests.workers.rebuild.rebuild_setup import copy_of, put_back, tools
from tests.workers.rebuild.test_events import noted_through

__all__ = ["stream"]


class Disturbed:
    """Takes events as facts do; something happens to Redis when it has taken the first."""

    def __init__(self, facts: Facts, disturb: Callable[[], Awaitable[None]]) -> None:
        self._facts = facts
        self._disturb: Callable[[], Awaitable[None]] | None = disturb

    async def apply_each(self, arrivals: Sequence[Arrival]) -> list[list[EventResult]]:
        results = await self._facts.apply_each(arrivals)
        if self._disturb is not None:
            disturb, self._disturb = self._disturb, None
            await disturb()
        return results


@pytest.fixture
async def site(redis_url: str) -> AsyncIterator[Site]:
    site = Site(redis_url, name="test", partition=0)
    yield site
    await site.close()


@pytest.fixture
async def master(own_port: int, tmp_path: Path, redis_program: Path | None) -> AsyncIterator[Redis]:
    """A Redis that others can follow: by a port, and without delay."""
    program = Valkey(tmp_path, tmp_path, redis_program)._program.path
    settings = f"--port {own_port} --bind 127.0.0.1 --repl-diskless-sync-delay 0 --save"
    child = Child(
        "master", [program, *settings.split(), ""], log=tmp_path / "master.log", folder=tmp_path
    )
    try:
        async with Redis(host="127.0.0.1", port=own_port) as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except NoConnection:
                    return False

            await until(answers)
            yield client
    finally:
        child.stop()


@pytest.fixture
async def follower(
    shop: Retailer, site: Site, redis_url: str, ledger_url: str, nats_url: str, stream: Stream
) -> AsyncIterator[StreamFollower]:
    """Advances when it is called. A hundred are in stock, with a checkpoint."""
    follower = StreamFollower(tools(shop, redis_url, ledger_url, stream.client), shop.facts, site)
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=100))
        await stream.drained()
        await recorded_and_noted(shop, follower, ledger_url)
        await noted_through(shop, 1)
        yield follower


async def recorded_and_noted(shop: Retailer, follower: StreamFollower, ledger_url: str) -> None:
    await follower.advance()
    async with shop.recording(ledger_url):
        pass
    await follower.save()


async def sold(stream: Stream, units: int) -> None:
    await stream.publish(*[event("sale", quantity=1) for _ in range(units)])
    await stream.drained()


async def due(shop: Retailer) -> PendingReplay | None:
    async with shop.ledger.connection() as connection:
        return await pending_replay(connection, 0)


@pytest.mark.parametrize("since", [0, 10, 20], ids=["just so", "going on", "as far as before"])
async def test_a_redis_that_was_set_back_in_place_is_given_its_events_again(
    since: int,
    follower: StreamFollower,
    shop: Retailer,
    redis: Redis,
    ledger_url: str,
    stream: Stream,
) -> None:
    old = await copy_of(redis)
    await sold(stream, 20)
    await follower.advance()
    await put_back(redis, old)
    for _ in range(since):
        await shop.tell(event("receipt", quantity=1))
    assert await shop.on_hand() == 100 + since
    await follower.advance()
    assert await shop.on_hand() == 80 + since
    assert await due(shop)
    await recorded_and_noted(shop, follower, ledger_url)
    await noted_through(shop, 21)
    assert await due(shop) is None


async def test_a_replay_under_which_redis_is_set_back_is_done_again(
    follower: StreamFollower,
    shop: Retailer,
    site: Site,
    redis: Redis,
    redis_url: str,
    ledger_url: str,
    stream: Stream,
) -> None:
    old = await copy_of(redis)
    await sold(stream, 20)
    await put_back(redis, old)
    await shop.ledger.suspect_loss(0)
    facts: Any = Disturbed(shop.facts, lambda: put_back(redis, old))
    follower = StreamFollower(tools(shop, redis_url, ledger_url, stream.client), facts, site)
    await recorded_and_noted(shop, follower, ledger_url)
    assert await shop.on_hand() == 100
    assert await due(shop) == PendingReplay(0, 1)
    await recorded_and_noted(shop, follower, ledger_url)
    assert await shop.on_hand() == 80
    await noted_through(shop, 21)
    assert await due(shop) is None


async def test_a_loss_suspected_while_the_stream_is_replayed_asks_for_another_replay(
    follower: StreamFollower,
    shop: Retailer,
    site: Site,
    redis_url: str,
    ledger_url: str,
    stream: Stream,
) -> None:
    await sold(stream, 20)
    await shop.ledger.suspect_loss(0)
    facts: Any = Disturbed(shop.facts, lambda: shop.ledger.suspect_loss(0))
    follower = StreamFollower(tools(shop, redis_url, ledger_url, stream.client), facts, site)
    await recorded_and_noted(shop, follower, ledger_url)
    # The first is settled; for the second it is to be replayed from where it was before.
    assert await due(shop) == PendingReplay(0, 2)
    await noted_through(shop, 1)
    await recorded_and_noted(shop, follower, ledger_url)
    await noted_through(shop, 21)
    assert await due(shop) is None
    assert await shop.on_hand() == 80


async def test_another_run_that_was_not_opened_yet_is_a_suspected_loss_of_its_own(
    follower: StreamFollower, shop: Retailer, ledger_url: str, stream: Stream
) -> None:
    await sold(stream, 20)
    # As after a look by a process that saw another Redis at the same address.
    await shop.ledger.open(0, 1, "the-one-before")
    await follower.advance()
    assert await due(shop) == PendingReplay(0, 2)
    position = await shop.ledger.position(0)
    assert position is not None
    assert position.run_id != "the-one-before"
    await recorded_and_noted(shop, follower, ledger_url)
    assert await due(shop) is None


async def test_a_redis_that_followed_another_for_a_while_is_suspected_though_it_ran_on(
    follower: StreamFollower,
    shop: Retailer,
    redis: Redis,
    master: Redis,
    ledger_url: str,
    stream: Stream,
) -> None:
    await put_back(master, await copy_of(redis))
    await sold(stream, 20)
    # Demoted, and promoted again before the next look: the seq is what it was at the last look.
    await follow_for_a_while(redis, master)
    assert await shop.on_hand() == 100
    await follower.advance()
    assert await shop.on_hand() == 80
    await recorded_and_noted(shop, follower, ledger_url)
    await noted_through(shop, 21)


async def follow_for_a_while(redis: Redis, master: Redis) -> None:
    """Until it has what the master has, and no more."""
    client: Any = redis
    port = master.connection_pool.connection_kwargs["port"]
    await client.replicaof("127.0.0.1", port)

    async def follows() -> bool:
        return bool((await client.info("replication"))["master_link_status"] == "up")

    await until(follows)
    await client.replicaof("NO", "ONE")
