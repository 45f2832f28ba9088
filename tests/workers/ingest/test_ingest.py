"""An event published to the stream is in the stock, once, whatever happens on the way."""

import time

import msgspec
import nats
import pytest
from nats.aio.client import Client

from atp_service.embedded.postgres import Postgres
from atp_service.inventory.commands import decode_command
from atp_service.jetstream.stream import STREAM
from atp_service.ledger import stream_checkpoints
from atp_service.ledger.stream_checkpoints import Checkpoint
from atp_service.workers.ingest.retention import make_room
from tests.recorders import last_seq
from tests.retailer import Retailer, away, event, now_ms, until
from tests.workers.ingest.conftest import Stream, worker


async def test_a_published_event_is_in_the_stock(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    await stream.publish(*(event("receipt", quantity=2) for _ in range(1_200)))
    async with worker(shop, nats_url):
        await stream.drained()
        assert await shop.on_hand() == 2_400
        await stream.publish(event("sale", quantity=1))
        await stream.drained()
    assert await shop.on_hand() == 2_399


async def test_an_event_published_twice_counts_once(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    receipts = [event("receipt", quantity=1) for _ in range(100)]
    await stream.publish(*receipts, *receipts)
    async with worker(shop, nats_url):
        await stream.drained()
    assert await shop.on_hand() == 100


async def test_poison_never_stalls_the_stream(
    shop: Retailer, stream: Stream, nats_url: str, ledger_url: str
) -> None:
    poison = [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"specversion": "1.0"}',
        b"x" * 900_000,
    ]
    async with shop.recording(ledger_url), worker(shop, nats_url):
        for message in poison:
            await stream.publish(event("receipt", quantity=1), message)
        await stream.publish(event("sale", sku="NEW-9", quantity=1))
        await stream.publish(b"ISA*00*", subject="atp.raw.x12.3pl.acme")
        await stream.drained()
    assert await shop.on_hand() == len(poison)
    rows = await shop.ledger.exceptions()
    assert {row.kind: row.count for row in rows} == {
        "malformed": len(poison),
        "unknown-sku": 1,
        "no-adapter": 1,
    }


async def test_a_message_whose_headers_look_like_the_server_s_is_a_message(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    async with worker(shop, nats_url):
        await stream.client.publish(
            "atp.events.pos.odd", b"?", headers={"Status": "409", "Description": "deleted"}
        )
        await stream.publish(event("receipt", quantity=1))
        await stream.drained()
    assert await shop.on_hand() == 1
    assert await last_seq(shop.store) == 2


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
async def test_a_trace_in_a_message_s_headers_is_carried_into_the_journal(
    shop: Retailer, stream: Stream, nats_url: str, name: str
) -> None:
    trace, other = (f"00-{n}af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" for n in "01")
    told = [
        (event("receipt", quantity=1), trace),
        (event("receipt", quantity=1) | {"traceparent": other}, trace),
        (event("receipt", quantity=1), "nonsense"),
        (event("receipt", sku="NEW-9", quantity=1), trace),
    ]
    async with worker(shop, nats_url):
        for each, header in told:
            message = msgspec.json.encode(each)
            await stream.client.publish("atp.events.wms.dc-1", message, headers={name: header})
        await stream.client.flush()
        await stream.drained()
    entries = await shop.store.partitions[0].journal.entries(0, 10)
    traces = [decode_command(entry.command).traceparent for entry in entries]
    assert traces == [trace, other, None, trace]


async def test_a_fault_of_our_own_parks_one_event_and_spares_the_others(
    shop: Retailer, stream: Stream, nats_url: str, ledger_url: str
) -> None:
    shop.catalog.skus["SKU-2"] = "no SKU"  # type: ignore[assignment]  # the fault
    async with shop.recording(ledger_url), worker(shop, nats_url):
        await stream.publish(
            event("receipt", quantity=1),
            event("receipt", sku="SKU-2", quantity=1, unit="CASE"),
            event("receipt", quantity=1),
        )
        await stream.drained()
    assert await shop.on_hand() == 2
    (row,) = await shop.ledger.exceptions()
    assert (row.kind, row.reference, row.count) == ("faulted", "AttributeError", 1)


async def test_several_workers_share_the_stream(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    await stream.publish(*(event("receipt", quantity=1) for _ in range(3_000)))
    async with worker(shop, nats_url), worker(shop, nats_url), worker(shop, nats_url):
        await stream.drained()
    assert await shop.on_hand() == 3_000


async def test_a_worker_that_is_stopped_hands_back_what_it_had_not_begun(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    await stream.publish(*(event("receipt", quantity=1) for _ in range(3_000)))
    async with worker(shop, nats_url):

        async def begun() -> bool:
            return await shop.on_hand() > 0

        await until(begun)
    began = time.monotonic()
    async with worker(shop, nats_url):
        await stream.drained()
    assert await shop.on_hand() == 3_000
    # Nobody had to wait until the server missed the acknowledgements.
    assert time.monotonic() - began < 10


async def test_counts_wait_for_postgres_while_everything_else_goes_on(
    shop: Retailer, stream: Stream, nats_url: str, postgres: Postgres, ledger_url: str
) -> None:
    counted_at = now_ms() - 60_000
    await shop.tell(event("receipt", quantity=10, at_ms=counted_at - 1))
    async with worker(shop, nats_url):
        with away(postgres, ledger_url):
            await stream.publish(event("count", quantity=100, at_ms=counted_at))
            await stream.publish(*(event("sale", quantity=1) for _ in range(20)))

            async def sold() -> bool:
                return await shop.on_hand() == -10

            async def the_count_is_left() -> bool:
                return await stream.left() == 1

            await until(sold)
            await until(the_count_is_left)
        async with shop.recording(ledger_url):
            await stream.drained(30)
    assert await shop.on_hand() == 80


async def test_a_worker_may_be_started_before_nats_knows_the_stream(
    shop: Retailer, empty_nats: Client, nats_url: str
) -> None:
    async with worker(shop, nats_url):

        async def published() -> bool:
            try:
                await stream.publish(event("receipt", quantity=1))
            except nats.errors.Error:
                return False
            return True

        stream = Stream(empty_nats)
        await until(published)
        await stream.drained()
    assert await shop.on_hand() == 1


async def test_a_stream_that_is_deleted_is_made_anew(
    shop: Retailer, stream: Stream, nats_url: str
) -> None:
    async with worker(shop, nats_url):
        await stream.publish(event("receipt", quantity=1))
        await stream.drained()
        await stream.client.jetstream().delete_stream(STREAM)

        async def there_again() -> bool:
            try:
                return await stream.left() == 0
            except nats.errors.Error:
                return False

        await until(there_again)
        await stream.publish(event("receipt", quantity=1))
        await stream.drained()
    assert await shop.on_hand() == 2


async def test_nothing_is_discarded_silently(stream: Stream) -> None:
    info = await stream.client.jetstream().stream_info(STREAM)
    assert info.config.discard == "new"
    assert not info.config.max_age
    assert info.config.subjects == ["atp.events.>", "atp.raw.>"]
    assert info.config.storage == "file"


async def test_room_is_made_from_what_is_recorded_and_from_nothing_else(
    shop: Retailer, empty_nats: Client, nats_url: str, postgres: Postgres, ledger_url: str
) -> None:
    jetstream = empty_nats.jetstream()
    await jetstream.add_stream(name=STREAM, subjects=["atp.events.>"], max_bytes=80_000)
    stream = Stream(empty_nats)

    async def first_kept() -> int:
        await make_room(jetstream, shop.ledger)
        return (await jetstream.stream_info(STREAM)).state.first_seq

    async def noted(seq: int) -> None:
        """As the worker's role `rebuild` does it."""
        info = await jetstream.stream_info(STREAM)
        position = await shop.ledger.position(0)
        assert position is not None
        assert info.created is not None
        end = (position.epoch, position.seq, position.digest)
        checkpoint = Checkpoint(STREAM, info.created, seq, *end)
        async with shop.ledger.connection() as connection:
            assert await stream_checkpoints.save(connection, 0, checkpoint)

    async with worker(shop, nats_url):
        await stream.publish(*(event("receipt", quantity=1) for _ in range(200)))
        await stream.drained()
    # All are applied; but a Redis that is lost now would need them once more.
    assert await first_kept() == 1
    async with shop.recording(ledger_url):
        pass
    await noted(30)
    assert await first_kept() == 31
    await stream.publish(*(event("receipt", quantity=1) for _ in range(10)))
    await noted(200)
    with away(postgres, ledger_url):
        assert await first_kept() == 31

    async def half_is_kept() -> bool:
        return await first_kept() == 120

    # Though the ledger has more; once Postgres is back.
    await until(half_is_kept)
    async with worker(shop, nats_url):
        await stream.drained()
    assert await shop.on_hand() == 210
