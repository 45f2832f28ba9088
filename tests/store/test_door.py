"""The door: many askers, few calls, and nothing twice, whatever happens to the connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from msgspec import structs
from redis.asyncio import Redis

from atp_service.inventory.commands import (
    LINES_OF_A_CART,
    Adjustment,
    Command,
    Confirm,
    Hold,
    HoldLine,
    LineUnits,
    Receipt,
    Release,
    Replace,
    SafetyStock,
    fingerprint,
)
from atp_service.inventory.entry_ref import EntryRef
from atp_service.inventory.outcomes import (
    Applied,
    Changed,
    Confirmed,
    Duplicate,
    Faulted,
    Held,
    InsufficientStock,
    NoRoom,
    Repeated,
)
from atp_service.metrics import REGISTRY
from atp_service.store import Overloaded, Partition, Unavailable
from atp_service.store.door import LINES_A_COMMAND, PATIENCE_SECONDS, PROMISES_WAITING
from tests import builders
from tests.builders import lines_of
from tests.store.ledgers import LedgerInHand


def hold(
    reservation_id: str, quantity: int = 1, *, sku: str = "LAMP", ttl_ms: int = 900_000
) -> Hold:
    return builders.hold(reservation_id, sku, quantity=quantity, location="DC", ttl_ms=ttl_ms)


def replace(reservation_id: str, quantity: int) -> Replace:
    lines = lines_of("LAMP", quantity=quantity, location="DC")
    return Replace(
        reservation_id=reservation_id, lines=lines, fingerprint=fingerprint(lines), ttl_ms=900_000
    )


def receipt(event_id: str, quantity: int, sku: str = "LAMP") -> Receipt:
    return builders.receipt(sku, quantity, "DC", event_id=event_id, occurred_at_ms=1_000)


@pytest.fixture
async def store(redis_url: str, lamps: int) -> AsyncIterator[Partition]:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    yield store
    await store.close()


class Sent(NamedTuple):
    """What the doors of this process have sent so far."""

    batches: float
    commands: float


def sent() -> Sent:
    name = "atp_door_batch_commands"
    values = [REGISTRY.get_sample_value(f"{name}_{part}") for part in ("count", "sum")]
    return Sent(*(value or 0 for value in values))


async def test_the_last_unit_goes_to_one_buyer(
    store: Partition, redis_url: str, lamps: int
) -> None:
    other = Partition(redis_url, lamps)
    await other.open(LedgerInHand())
    await store.apply(receipt("1", 1))
    outcomes = await asyncio.gather(
        *(
            door.apply(hold(f"{name}-{i}"))
            for i in range(50)
            for name, door in (("a", store), ("b", other))
        )
    )
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InsufficientStock) for outcome in outcomes) == 99
    await other.close()


async def test_many_askers_share_few_calls(redis_url: str, lamps: int) -> None:
    before = sent()
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply(receipt("1", 1_000))
    await asyncio.gather(*(store.apply(hold(f"cart-{i}")) for i in range(500)))
    after = sent()
    assert after.commands - before.commands == 501
    assert after.batches - before.batches <= 5
    await store.close()


async def test_an_answer_lost_on_the_way_is_asked_for_again_and_counts_once(
    redis_url: str, lamps: int
) -> None:
    async with CutLine(redis_url) as line:
        store = Partition(line.url, lamps)
        await store.open(LedgerInHand())
        await store.apply(receipt("1", 10))
        line.cut_next_answer()
        assert isinstance(await store.apply(hold("cart", 3)), Held | Repeated)
        line.cut_next_answer()
        part = Release(reservation_id="cart", lines=[LineUnits(line_id="1", quantity=1)])
        outcome = await store.apply(part)
        assert isinstance(outcome, Changed | Repeated)
        assert outcome.reservation.lines[0].reserved == 2
        line.cut_next_answer()
        assert await store.apply(receipt("2", 5)) in (Duplicate(), Applied(EntryRef(lamps, 1, 4)))
        (level,) = await store.reads.levels([("LAMP", "DC")])
        assert level is not None
        assert (level.on_hand, level.reserved, line.cuts) == (15, 2, 3)
        await store.close()


def safety_stock(units: int) -> SafetyStock:
    return SafetyStock(sku="LAMP", location="DC", safety_stock=units)


@pytest.mark.parametrize(
    ("first", "later"),
    [(replace("cart", 2), replace("cart", 3)), (safety_stock(2), safety_stock(3))],
)
async def test_what_is_sent_again_after_a_lost_answer_does_not_undo_what_came_later(
    redis_url: str, first: Command, later: Command, lamps: int
) -> None:
    async with CutLine(redis_url) as line:
        store, other = Partition(line.url, lamps), Partition(redis_url, lamps)
        for door in (store, other):
            await door.open(LedgerInHand())
        await store.apply_all([receipt("1", 10), hold("cart", 1)])
        line.cut_next_answer()

        async def somebody_else() -> None:
            await line.was_cut.wait()
            await other.apply(later)

        async with asyncio.timeout(10):
            await asyncio.gather(store.apply(first), somebody_else())
        (level,) = await other.reads.levels([("LAMP", "DC")])
        assert level is not None
        assert 3 in (level.reserved, level.extras.safety_stock)
        await store.close()
        await other.close()


async def test_a_master_that_steps_down_is_left_for_whoever_is_it_next(
    store: Partition, redis: Redis
) -> None:
    await store.apply(receipt("1", 10))
    before = await doors_of(redis)
    await redis.replicaof("127.0.0.1", "1")
    try:
        held = asyncio.create_task(store.apply(hold("cart")))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (anew := await doors_of(redis)) or anew == before:
                pass
        assert not held.done()
    finally:
        await redis.replicaof("NO", "ONE")
    assert isinstance(await held, Held)


async def doors_of(redis: Redis) -> set[str]:
    """The connections that doors have to Redis."""
    return {client["id"] for client in await redis.client_list() if client["name"] == "atp-door"}


async def script_calls(redis: Redis) -> int:
    calls: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    return calls


async def test_a_script_that_may_not_be_loaded_is_said_at_once(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    await redis.script_flush()
    await redis.acl_setuser(
        "unscripted",
        enabled=True,
        nopass=True,
        keys="*",
        categories=["+@all"],
        commands=["-script"],
    )
    store = Partition(f"{redis_url}{'&' if '?' in redis_url else '?'}username=unscripted", lamps)
    try:
        await store.open(LedgerInHand())
        with pytest.raises(Unavailable, match="can't be loaded"):
            await store.apply(receipt("1", 10))
    finally:
        await store.close()
        await redis.acl_deluser("unscripted")


async def test_a_server_that_has_forgotten_the_script_learns_it_again(
    store: Partition, redis: Redis
) -> None:
    await store.apply(receipt("1", 10))
    await redis.script_flush()
    assert isinstance(await store.apply(hold("cart")), Held)


async def test_more_lapsed_holds_than_one_call_reaps_are_reaped_before_a_refusal(
    store: Partition, redis: Redis
) -> None:
    await store.apply(receipt("1", 120))
    await store.apply_all([hold(f"cart-{i}", ttl_ms=1) for i in range(120)])
    after = await store.reads.now_ms() + 2
    while await store.reads.now_ms() < after:
        await redis.ping()
    assert isinstance(await store.apply(hold("everything", 120)), Held)


async def test_big_carts_that_are_confirmed_together_take_more_than_one_call_and_their_order(
    store: Partition, redis: Redis
) -> None:
    """So that nobody else waits for all of them."""
    skus = [f"SKU-{n}" for n in range(100)]
    lines = [HoldLine(line_id=sku, sku=sku, location="DC", quantity=1) for sku in skus]
    carts = [f"cart-{n}" for n in range(40)]
    await store.apply_all([receipt(sku, 40, sku=sku) for sku in skus])
    for cart in carts:
        big = structs.replace(hold(cart), lines=lines, fingerprint=fingerprint(lines))
        assert isinstance(await store.apply(big), Held)
    before = await script_calls(redis)
    confirms = [Confirm(reservation_id=cart, order_id=cart) for cart in carts]
    then = [hold("late", 1), Confirm(reservation_id="late", order_id="late")]
    outcomes = await store.apply_all([receipt("lamps", 1), *confirms, *then])
    assert all(isinstance(outcome, Confirmed) for outcome in [*outcomes[1:-2], outcomes[-1]])
    assert await script_calls(redis) - before == len(confirms) * LINES_OF_A_CART // 128 + 1


async def test_what_is_sold_out_is_refused_at_once_however_many_other_holds_are_due(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    store = Partition(redis_url, lamps)
    await store.open(LedgerInHand())
    await store.apply_all([receipt("1", 500, sku="ROPE"), receipt("2", 1)])
    await store.apply_all([hold(f"cart-{i}", sku="ROPE", ttl_ms=1) for i in range(500)])
    await store.apply_all([hold("buyer"), Confirm(reservation_id="buyer", order_id="o-1")])
    after = await store.reads.now_ms() + 2
    while await store.reads.now_ms() < after:
        await redis.ping()
    before = sent()
    assert isinstance(await store.apply(hold("late")), InsufficientStock)
    assert sent() == Sent(before.batches + 1, before.commands + 1)
    await store.close()


async def test_a_command_that_stumbles_leaves_its_neighbours_alone(store: Partition) -> None:
    beyond = [
        Adjustment(
            source="erp",
            event_id=str(i),
            occurred_at_ms=1_000,
            sku="LAMP",
            location="DC",
            quantity=2**53 - 1,
        )
        for i in range(2)
    ]
    first, second, third = await store.apply_all([*beyond, receipt("1", -5)])
    assert isinstance(first, Applied)
    assert isinstance(second, Faulted)
    assert isinstance(third, Applied)
    (level,) = await store.reads.levels([("LAMP", "DC")])
    assert level is not None
    assert level.on_hand == 2**53 - 6


async def test_when_memory_runs_out_promises_are_refused_and_facts_are_not(
    redis_url: str, redis: Redis, lamps: int
) -> None:
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used * 1.1))
    try:
        store = Partition(redis_url, lamps)
        await store.open(LedgerInHand())
        await store.apply(receipt("1", 10))
        assert await store.apply(hold("cart")) == NoRoom()
        assert isinstance(await store.apply(receipt("2", 10)), Applied)
        assert not isinstance(await store.apply(Confirm(reservation_id="x", order_id="o")), NoRoom)
        await store.close()
    finally:
        await redis.config_set("maxmemory", 0)


class CutLine:
    """A line to Redis that can be cut after a command has arrived and before its answer has."""

    def __init__(self, redis_url: str) -> None:
        self._path = urlsplit(redis_url).path
        self._target = urlsplit(redis_url)
        self._cut = False
        self.was_cut = asyncio.Event()
        self.cuts = 0

    async def __aenter__(self) -> "CutLine":
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def cut_next_answer(self) -> None:
        self._cut = True

    async def _carry(self, asker: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        if self._target.scheme == "unix":
            up, down = await asyncio.open_unix_connection(self._path)
        else:
            up, down = await asyncio.open_connection(
                self._target.hostname, self._target.port or 6379
            )
        script_call = False

        async def there() -> None:
            nonlocal script_call
            while data := await asker.read(65_536):
                script_call = b"EVALSHA" in data
                down.write(data)

        async def back() -> None:
            while data := await up.read(65_536):
                if self._cut and script_call:
                    self._cut = False
                    self.cuts += 1
                    self.was_cut.set()
                    break
                answer.write(data)
            answer.close()

        await asyncio.gather(there(), back(), return_exceptions=True)
        down.close()


async def test_beyond_what_can_be_decided_soon_promises_are_refused_at_once_and_facts_are_not(
    store: Partition, redis: Redis
) -> None:
    await store.apply(receipt("r1", PROMISES_WAITING))
    full = PROMISES_WAITING // (1 + LINES_A_COMMAND)  # of single-line holds
    held = await store.apply(hold("paid-for"))
    assert isinstance(held, Held)
    await redis.client_pause(60_000, all=False)
    # The first goes out at once and hangs in Redis; what comes after it waits.
    first = asyncio.create_task(store.apply(hold("first")))
    await waits(store, 1)
    await waits(store, 0)
    waiting = [asyncio.create_task(store.apply(hold(f"cart-{n}"))) for n in range(full)]
    await waits(store, full)

    with pytest.raises(Overloaded):
        await store.apply(hold("too-late"))
    owed = [
        asyncio.create_task(store.apply(command))
        for command in (
            receipt("r2", 5),
            Confirm(reservation_id="paid-for", order_id="order-1"),
            Release(reservation_id="paid-for"),
        )
    ]
    await waits(store, full + len(owed))

    await redis.client_unpause()
    assert all(isinstance(outcome, Held) for outcome in await asyncio.gather(first, *waiting))
    assert [type(outcome) for outcome in await asyncio.gather(*owed)] == [
        Applied,
        Confirmed,
        Changed,
    ]
    assert isinstance(await store.apply(hold("too-late")), Held)


async def waits(store: Partition, commands: int) -> None:
    async with asyncio.timeout(10):
        while store.waiting != commands:  # noqa: ASYNC110 – the store tells nobody
            await asyncio.sleep(0)
