"""A snapshot published line by line, its end right behind: the end overtakes no line."""

import os
import signal
from typing import Any

import psycopg
from nats.js.api import AckPolicy, ConsumerConfig
from psycopg.conninfo import conninfo_to_dict

from atp_service.catalog import Feed
from atp_service.embedded.postgres import Postgres
from atp_service.jetstream.stream import STREAM
from tests.recorders import last_seq
from tests.retailer import DC, ERP, Retailer, event, now_ms, until
from tests.workers.ingest.conftest import CONSUMER, Stream, worker, worker_process

LINES = 1_300  # more than one group of the worker's


def end_of(taken_at: int) -> dict[str, Any]:
    end = event("snapshot", source=ERP, at_ms=taken_at)
    end["data"] = {"location": DC, "final": True}
    return end


async def test_the_end_of_a_snapshot_does_not_overtake_its_lines(
    shop: Retailer, stream: Stream, nats_url: str, ledger_url: str
) -> None:
    await shop.catalog.put(Feed(id=ERP, kind="erp", snapshot="correct"))
    skus = [f"SKU-{n}" for n in range(3, LINES + 4)]
    await shop.catalog.ensure(skus=skus, locations=set(), feeds=set())
    taken_at = now_ms() - 60_000
    async with shop.recording(ledger_url), worker(shop, nats_url):
        *mentioned, left_out = skus
        receipts = [event("receipt", sku=sku, quantity=5, at_ms=taken_at - 1) for sku in skus]
        await stream.publish(*receipts)
        await stream.drained()
        lines = [
            event("snapshot", source=ERP, sku=sku, quantity=6, at_ms=taken_at) for sku in mentioned
        ]
        await stream.publish(*lines, end_of(taken_at), subject="atp.events.erp.stock")
        await stream.drained()
        levels = await shop.store.levels([(sku, DC) for sku in skus])
        assert [level.on_hand for level in levels if level] == [6] * LINES + [0]
        # Each was corrected once: with a line of 0 by mistake, it would have moved twice.
        assert {level.moves for level in levels if level} == {2}
        assert await shop.on_hand(left_out) == 0


async def test_an_end_does_not_overtake_lines_that_a_frozen_worker_has_taken(
    shop: Retailer,
    stream: Stream,
    nats_url: str,
    redis_url: str,
    postgres: Postgres,
    ledger_url: str,
) -> None:
    await shop.catalog.put(Feed(id=ERP, kind="erp", snapshot="correct"))
    taken_at = now_ms() - 60_000
    counted, left_out = [f"SKU-{n}" for n in range(3, 13)], "SKU-13"
    await shop.catalog.ensure(skus=[*counted, left_out], locations=set(), feeds=set())
    jetstream = stream.client.jetstream()
    # Longer than a worker takes to start.
    await jetstream.add_consumer(
        STREAM, ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=25.0)
    )
    name = str(conninfo_to_dict(ledger_url)["dbname"])
    async with shop.recording(ledger_url), worker_process(redis_url, nats_url, ledger_url) as one:
        await stream.publish(
            *(event("receipt", sku=sku, quantity=5, at_ms=taken_at - 1) for sku in counted),
            event("receipt", sku=left_out, quantity=5, at_ms=taken_at - 1),
        )
        await stream.drained(60)
        await shop.recorded()
        with psycopg.connect(postgres.url("postgres", name)) as blocking:
            # A line can't be compared as long as this is locked.
            blocking.execute("LOCK TABLE movements IN ACCESS EXCLUSIVE MODE")
            await stream.publish(
                *(event("snapshot", source=ERP, sku=s, quantity=6, at_ms=taken_at) for s in counted)
            )

            async def taken() -> bool:
                waiting = (
                    "SELECT FROM pg_locks WHERE NOT granted AND relation = 'movements'::regclass"
                )
                return blocking.execute(waiting).rowcount > 0

            await until(taken, 30)
            os.kill(one.pid, signal.SIGSTOP)
        # It asks no longer, so that the end can't be sent to it.
        await until(lambda: asking(stream, 0), 30)
        async with worker_process(redis_url, nats_url, ledger_url):
            await until(lambda: asking(stream, 1), 30)
            assert await stream.left() == len(counted)
            await stream.publish(end_of(taken_at))

            async def the_other_has_seen_the_end() -> bool:
                info = await jetstream.consumer_info(STREAM, CONSUMER)
                return bool(info.num_pending == 0)

            await until(the_other_has_seen_the_end)
            await stream.drained(60)
            assert await on_hand(shop, *counted, left_out) == [6] * len(counted) + [0]
            seq = await last_seq(shop.store)
            os.kill(one.pid, signal.SIGCONT)
            # It goes on where it was: all of that is known by now.
            await stream.publish(event("receipt", sku=left_out, quantity=1))
            await stream.drained()

            await until(lambda: asking(stream, 2), 30)
        assert await on_hand(shop, *counted, left_out) == [6] * len(counted) + [1]
        assert await last_seq(shop.store) == seq + 1
        levels = await shop.store.levels([(sku, DC) for sku in counted])
        # Each was corrected once, and never to 0 in between.
        assert {level.moves for level in levels if level} == {2}


async def asking(stream: Stream, workers: int) -> bool:
    """Whether that many workers wait for messages."""
    info = await stream.client.jetstream().consumer_info(STREAM, CONSUMER)
    return bool(info.num_waiting == workers)


async def on_hand(shop: Retailer, *skus: str) -> list[int]:
    levels = await shop.store.levels([(sku, DC) for sku in skus])
    return [level.on_hand for level in levels if level]
