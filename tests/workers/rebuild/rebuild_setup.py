"""What tests of rebuilds share: who looks after Redis, what is in it, and how it is damaged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import structs
from nats.aio.client import Client
from redis.asyncio import Redis

from atp_service.facts import Facts
from atp_service.inventory.commands import Command, Hold, encode_command
from atp_service.inventory.journal import FORMAT
from atp_service.inventory.outcomes import Outcome, decode_outcome
from atp_service.jetstream.stream import CONSUMER, STREAM
from atp_service.store import Store
from atp_service.store.keys import keys_of
from atp_service.store.script import production_script
from atp_service.workers import rebuild, record
from tests import builders
from tests.retailer import DC, Retailer, now_ms

NUMBER = 0  # of the partition that has SKU-1, of one and of three
KEYS = keys_of(NUMBER)
WINDOW_MS = 86_400_000
SECONDS = 60.0


def tools(
    shop: Retailer, redis_url: str, database_url: str, nats: Client | None = None
) -> rebuild.Tools:
    return rebuild.Tools(
        redis_url=redis_url,
        database_url=database_url,
        ledger=shop.ledger,
        facts_on=lambda store: Facts(
            store, shop.ledger, shop.catalog, auto_create=False, dedupe_hours=24, clock=now_ms
        ),
        nats=nats,
        stream=STREAM,
        consumer=CONSUMER,
        window_ms=WINDOW_MS,
        partition=shop.store.partition_of("SKU-1").number,
        partitions=len(shop.store.partitions),
    )


@asynccontextmanager
async def looked_after(
    tools: rebuild.Tools, shop: Retailer, *, recording: bool = True
) -> AsyncIterator[None]:
    """A worker records and rebuilds, with a store of its own, as a process of its own would; or
    it rebuilds alone."""
    stop = asyncio.Event()
    store = Store(tools.redis_url, partitions=tools.partitions, name="recorder")
    roles = []
    for partition in store.partitions:
        own = structs.replace(tools, partition=partition.number)
        roles.append(asyncio.create_task(rebuild.run(own, shop.facts, stop=stop)))
        partition.guard.set_ledger(shop.ledger)
        if recording:
            roles.append(asyncio.create_task(record.run(partition, tools.database_url, stop=stop)))
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*roles)
        await store.close()


def hold(
    cart: str, quantity: int = 1, *, sku: str = "SKU-1", ttl_ms: int = 900_000, place: str = DC
) -> Hold:
    return builders.hold(cart, sku, quantity=quantity, location=place, ttl_ms=ttl_ms)


def order(cart: str, quantity: int = 1) -> Sequence[Command]:
    return builders.order(cart, "SKU-1", quantity)


async def contents(redis: Redis) -> dict[str, Any]:
    """All that Redis keeps of SKU-1's partition, by kind; without what a rebuild may choose."""
    client: Any = redis
    stock = await client.hgetall(KEYS.stock)
    meta = await client.hgetall(KEYS.meta)
    seen = await client.hgetall(KEYS.seen)
    return {
        "levels": {k: v for k, v in stock.items() if b"\x1f" in k},
        "locations": {
            k: sorted(msgspec.msgpack.decode(v)) for k, v in stock.items() if b"\x1f" not in k
        },
        "reservations": await client.hgetall(KEYS.reservations),
        "orders": await client.hgetall(KEYS.orders),
        "deadlines": dict(await client.zrange(KEYS.deadlines, 0, -1, withscores=True)),
        "seen": set(seen) | set(await client.hgetall(KEYS.seen_before)),
        "meta": {k: meta.get(k) for k in (b"seq", b"digest", b"time", b"rebuilding")},
        "feeds": {k: tuple(map(int, v.split(b":"))) for k, v in meta.items() if k[:1] == b"f"},
        "journal": (await client.xrange(KEYS.journal))[-1:],
    }


async def copy_of(redis: Redis) -> dict[bytes, bytes]:
    """All of Redis, to be put back another day."""
    client: Any = redis
    kept = {key: await client.dump(key) for key in await client.keys()}
    return {key: blob for key, blob in kept.items() if blob is not None}


async def put_back(redis: Redis, copy: dict[bytes, bytes]) -> None:
    """Redis as it was when it was copied, at once; connections live on."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.flushdb()
        for key, blob in copy.items():
            pipeline.restore(key, 0, blob)
        await pipeline.execute()


async def on_the_fork(redis: Redis, *commands: Command) -> list[Outcome]:
    """What somebody who knows nothing of the ledger does to this Redis."""
    client: Any = redis
    epoch = await client.hget(KEYS.meta, "epoch")
    script = production_script()
    await client.script_load(script.source)
    outcomes: list[Outcome] = []
    for command in commands:
        (reply,) = await client.evalsha(
            script.sha.decode(),
            len(KEYS),
            *KEYS,
            epoch,
            FORMAT,
            0,
            WINDOW_MS,
            encode_command(command),
        )
        outcomes.append(decode_outcome(reply, NUMBER, int(epoch)))
    return outcomes
