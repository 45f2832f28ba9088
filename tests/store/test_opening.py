"""Which Redis may be answered from: the one that continues what the ledger has, and no other."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from atp_service.inventory.outcomes import Held
from atp_service.store import Fenced, Partition, Unavailable
from tests.store.ledgers import LedgerInHand, Position
from tests.store.test_door import hold, receipt


async def recorded(store: Partition) -> Position:
    """The ledger's position when it has recorded all there is."""
    entries = await store.journal.entries(0, 1_000)
    return Position(store.epoch, entries[-1].seq, entries[-1].digest)


async def test_a_first_start_begins_the_first_epoch(redis_url: str, lamps: int) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    assert store.epoch == 1
    assert [epoch for epoch, _ in ledger.opened] == [1]
    await store.close()


async def test_a_redis_emptied_before_anything_was_recorded_has_lost_something_too(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    await redis.flushall()
    with pytest.raises(Fenced, match="empty"):
        await store.apply(hold("cart"))
    late = Partition(redis_url, lamps)
    with pytest.raises(Fenced, match="empty") as fenced:
        await late.open(ledger)
    assert fenced.value.cause == "lost"
    assert await redis.keys() == []
    for opened in (store, late):
        await opened.close()


async def test_of_many_who_start_at_once_one_begins_and_all_are_let_in(
    redis_url: str, lamps: int
) -> None:
    ledger = LedgerInHand()
    stores = [Partition(redis_url, lamps) for _ in range(8)]
    await asyncio.gather(*(store.open(ledger) for store in stores))
    assert {store.epoch for store in stores} == {1}
    assert len({run_id for _, run_id in ledger.opened}) == 1
    for store in stores:
        await store.close()


async def test_an_emptied_redis_answers_nothing(redis_url: str, redis: Redis, lamps: int) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await redis.flushall()
    with pytest.raises(Fenced, match="empty"):
        await store.apply(hold("cart"))
    with pytest.raises(Fenced):
        await store.reads.levels([("LAMP", "DC")])
    await store.close()


async def test_who_only_reads_notices_too_that_redis_was_emptied(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    assert await store.reads.locations_of(["LAMP"]) == [["DC"]]
    await redis.flushall()
    for read in (
        store.reads.levels([("LAMP", "DC")]),
        store.reads.locations_of(["LAMP"]),
        store.reads.reservation("cart"),
        store.reads.feeds(["wms/dc"]),
        store.reads.server_report(),
    ):
        with pytest.raises(Fenced, match="empty"):
            await read
    await store.close()


async def test_many_readers_of_an_emptied_redis_have_it_compared_once(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await redis.flushall()
    before = (await redis.info("stats"))["total_connections_received"]
    reads = [store.reads.levels([("LAMP", "DC")]) for _ in range(50)]
    faults = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(fault, Fenced) for fault in faults)
    assert (await redis.info("stats"))["total_connections_received"] - before <= 2
    await store.close()


async def test_who_only_reads_follows_the_ledger_into_a_new_epoch(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await store.reads.levels([("LAMP", "DC")])
    ledger.last.epoch = 2
    await redis.hset(store.keys.meta, "epoch", "2")
    (level,) = await store.reads.levels([("LAMP", "DC")])
    assert level is not None
    assert (level.on_hand, store.epoch) == (5, 2)
    await store.close()


async def test_who_only_reads_notices_that_the_right_redis_is_back(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await redis.hset(store.keys.meta, "epoch", "2")
    with pytest.raises(Fenced, match="epoch 2"):
        await store.reads.levels([("LAMP", "DC")])
    await redis.hset(store.keys.meta, "epoch", "1")
    async with asyncio.timeout(10):
        while True:
            try:
                (level,) = await store.reads.levels([("LAMP", "DC")])
            except Fenced:
                await asyncio.sleep(0.05)
            else:
                break
    assert level is not None
    assert level.on_hand == 5
    await store.close()


async def test_a_redis_that_lost_writes_is_fenced(redis_url: str, lamps: int) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply(receipt("1", 5))
    last = await recorded(store)
    later = Partition(redis_url, lamps)
    with pytest.raises(Fenced, match="lost writes"):
        await later.open(LedgerInHand(Position(1, last.seq + 1, "d")))
    await store.close()
    await later.close()


async def test_a_fork_is_fenced(redis_url: str, lamps: int) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply_all([receipt("1", 5), receipt("2", 5), receipt("3", 5)])
    fork = Partition(redis_url, lamps)
    with pytest.raises(Fenced, match="differ at entry 2"):
        await fork.open(LedgerInHand(Position(1, 2, "0" * 40)))
    await store.close()
    await fork.close()


async def test_another_epoch_is_fenced_until_it_is_the_ledgers(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await redis.hset(store.keys.meta, "epoch", "2")
    with pytest.raises(Fenced, match="epoch 2"):
        await store.apply(hold("cart"))
    ledger.last.epoch = 2
    assert isinstance(await store.apply(hold("cart")), Held)
    await store.close()


async def test_without_the_ledger_a_known_redis_is_trusted_and_an_empty_one_is_not(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    first = Partition(redis_url, lamps)
    await first.open(LedgerInHand())
    await first.apply(receipt("1", 5))
    second = Partition(redis_url, lamps)
    await second.open(LedgerInHand(away=True))
    assert isinstance(await second.apply(hold("cart")), Held)
    await redis.flushall()
    third = Partition(redis_url, lamps)
    with pytest.raises(Fenced, match="empty"):
        await third.open(LedgerInHand(away=True))
    for store in (first, second, third):
        await store.close()


async def test_what_the_recorder_trims_leaves_the_entry_to_compare_with(
    redis_url: str, lamps: int
) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply_all([receipt(str(i), 5) for i in range(5)])
    last = (await store.journal.entries(0, 3))[-1]
    await store.journal.trim(last.seq, last.digest)
    again = Partition(redis_url, lamps)
    await again.open(LedgerInHand(Position(1, last.seq, last.digest)))
    assert [entry.seq for entry in await again.journal.entries(last.seq, 10)] == [4, 5]
    await store.close()
    await again.close()


async def test_what_another_redis_has_under_the_same_number_is_not_trimmed(
    redis_url: str, lamps: int
) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply_all([receipt(str(i), 5) for i in range(3)])
    with pytest.raises(Unavailable, match="FORKED"):
        await store.journal.trim(2, "0" * 40)
    assert [entry.seq for entry in await store.journal.entries(0, 10)] == [1, 2, 3]
    await store.close()


async def test_a_fence_says_what_would_help(redis_url: str, redis: Redis, lamps: int) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply_all([receipt("1", 5), receipt("2", 5), receipt("3", 5)])
    last = await recorded(store)
    await store.journal.trim(last.seq, last.digest)

    async def cause(told: LedgerInHand) -> str:
        late = Partition(redis_url, lamps)
        with pytest.raises(Fenced) as fenced:
            await late.open(told)
        await late.close()
        return fenced.value.cause

    assert await cause(LedgerInHand(Position(1, last.seq + 1, "d"))) == "lost"
    assert await cause(LedgerInHand(Position(2, last.seq, last.digest))) == "lost"
    # The journal has let go of entries that the ledger lacks: restored from an old backup.
    assert await cause(LedgerInHand(Position(1, 1, "d"))) == "ledger-behind"
    assert await cause(LedgerInHand()) == "ledger-behind"
    await redis.hset(store.keys.meta, "epoch", "2")
    assert await cause(LedgerInHand(last)) == "ledger-behind"
    await redis.hset(store.keys.meta, "rebuilding", "3:n")
    assert await cause(LedgerInHand(Position(3, last.seq, last.digest))) == "lost"
    await redis.flushall()
    assert await cause(LedgerInHand(last)) == "lost"
    assert await cause(LedgerInHand(away=True)) == "unknown"
    await store.close()


async def test_a_fence_is_taken_from_the_epoch_that_was_seen_and_no_other(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    assert not await store.fence(2)
    assert isinstance(await store.apply(hold("cart")), Held)
    assert await store.fence(1)
    with pytest.raises(Fenced, match="fenced"):
        await store.apply(hold("other"))
    await store.close()


@pytest.mark.parametrize(
    ("written_in", "words"), [(None, "data of 0.1.0.*remove its data folder"), ("2", "in format 2")]
)
async def test_a_redis_that_another_release_has_written_is_refused_by_name(
    redis_url: str, redis: Redis, lamps: int, written_in: str | None, words: str
) -> None:
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    ledger.last = await recorded(store)
    await write_format(redis, store, written_in)
    late = Partition(redis_url, lamps)
    with pytest.raises(Fenced, match=words) as fenced:
        await late.open(ledger)
    assert fenced.value.cause == "format"
    await store.close()
    await late.close()


async def test_a_release_that_writes_another_format_writes_nothing(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    """It was connected before the other one began, so the script itself has to refuse it."""
    store, ledger = Partition(redis_url, lamps), LedgerInHand()
    await store.open(ledger)
    await store.apply(receipt("1", 5))
    before = await recorded(store)
    ledger.last = before
    await write_format(redis, store, "2")
    with pytest.raises(Fenced, match="in format 2"):
        await store.apply(receipt("2", 5))
    await write_format(redis, store, "1")
    assert (await recorded(store)).seq == before.seq
    await store.apply(receipt("2", 5))
    await store.close()


async def write_format(redis: Redis, store: Partition, name: str | None) -> None:
    client: Any = redis
    await client.hdel(store.keys.meta, "format")
    if name is not None:
        await client.hset(store.keys.meta, "format", name)
