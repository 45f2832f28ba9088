"""Values that somebody has damaged: whoever needs them fails, everybody else trades on."""

import asyncio

import pytest
from msgspec import structs
from redis.asyncio import Redis

from atp_service.inventory.commands import Confirm, Expire, Release, RepairLevel, RepairReservation
from atp_service.inventory.outcomes import Applied, Changed, Faulted, Held, Outcome, Repeated, Swept
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel, level_field
from atp_service.store import Partition, Store, Unavailable, Unreadable
from atp_service.store.script import CLOCK, Script, join, part
from tests.store.ledgers import LedgerInHand
from tests.store.test_door import hold, receipt

LAMP = level_field("LAMP", "DC")
UNREADABLE = [b"", b"gone", b"\xc1", b"\x96\x05\x00", b"\x97" + 7 * b"\xa1x", b"\x96\x01\x01"]
SURROGATE, OVERLONG, JOINED = b"\xed\xa0\x80", b"\xe0\x80\xaf", b"\xe4\xc3\xa9\xb8\xad"
NO_TEXTS = [SURROGATE, OVERLONG, b"\xc0\xaf", b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80", JOINED]


@pytest.fixture(autouse=True)
async def stocked(store: Store, lamps: int) -> Store:
    """Ten lamps and ten ropes."""
    await store.apply_all([receipt("lamps", 10), receipt("ropes", 10, sku="ROPE")])
    return store


async def level_of(store: Store, sku: str) -> StockLevel:
    (level,) = await store.levels([(sku, "DC")])
    assert level is not None
    return level


async def reservation_of(store: Store, reservation_id: str) -> Reservation:
    reservation = await store.reservation(reservation_id)
    assert reservation is not None
    return reservation


async def past_deadline(store: Store, redis: Redis) -> None:
    after = await store.now_ms() + 2
    while await store.now_ms() < after:
        await redis.ping()


@pytest.mark.parametrize("blob", UNREADABLE)
async def test_a_damaged_level_fails_only_the_carts_that_ask_for_it(
    store: Store, redis: Redis, blob: bytes
) -> None:
    await redis.hset(store.partition_of("LAMP").keys.stock, LAMP, blob)
    outcomes: list[Outcome] = await store.apply_all(
        [hold("rope", sku="ROPE"), hold("lamp"), receipt("more", 1), hold("rope-2", sku="ROPE")]
    )
    assert [type(outcome) for outcome in outcomes] == [Held, Faulted, Faulted, Held]
    assert (await level_of(store, "ROPE")).reserved == 2
    right = StockLevel(10, 0, 0, 1, 1, 1)
    repair = RepairLevel(sku="LAMP", location="DC", right=right)
    assert isinstance(await store.apply(repair), Applied)
    assert isinstance(await store.apply(hold("lamp")), Held)
    assert (await level_of(store, "LAMP")).on_hand == 10


@pytest.mark.parametrize(
    "image", [b"", b"\xc1", b"\xa2\xff\xfe", b"\x97\x01\x01\x01\x01\x01\x01\xa2\xff\xfe"]
)
async def test_a_level_that_cannot_be_read_spoils_no_page_of_others(
    store: Store, redis: Redis, image: bytes
) -> None:
    await store.apply_all([receipt("1", 5), structs.replace(receipt("2", 7), sku="VASE")])
    await redis.hset(store.partition_of("LAMP").keys.stock, level_field("LAMP", "DC"), image)
    damaged, sound = await store.levels([("LAMP", "DC"), ("VASE", "DC")])
    assert damaged is None
    assert sound is not None
    assert sound.on_hand == 7


async def test_every_byte_of_a_level_may_be_flipped_and_the_others_are_sold(
    store: Store, redis: Redis
) -> None:
    sound = await redis.hget(store.partition_of("LAMP").keys.stock, LAMP)
    assert isinstance(sound, bytes)
    for place in range(len(sound)):
        for bit in range(8):
            blob = bytearray(sound)
            blob[place] ^= 1 << bit
            await redis.hset(store.partition_of("LAMP").keys.stock, LAMP, bytes(blob))
            name = f"{place}-{bit}"
            lamp, rope = await store.apply_all(
                [receipt(f"lamp-{name}", 1), receipt(f"rope-{name}", 1, sku="ROPE")]
            )
            assert isinstance(rope, Applied)
            assert isinstance(lamp, Applied | Faulted)
            if isinstance(lamp, Applied):
                await level_of(store, "LAMP")  # what was written can be read


async def test_a_damaged_hold_keeps_no_other_from_lapsing(store: Store, redis: Redis) -> None:
    await store.apply_all([hold("damaged", ttl_ms=1), hold("cart", 2, ttl_ms=2)])
    await redis.hset(store.partition_of("LAMP").keys.reservations, "damaged", b"\x9c\xa4held")
    await past_deadline(store, redis)
    assert isinstance(await store.partition_of("LAMP").apply(Expire(limit=100)), Swept)
    assert (await level_of(store, "LAMP")).reserved == 1
    # Its deadline is put off: whoever reaps isn't kept busy by it.
    due = await store.partition_of("LAMP").reads.due()
    assert due is not None
    assert 0 < due < 61


async def test_a_damaged_reservation_fails_only_who_asks_for_it(store: Store, redis: Redis) -> None:
    await store.apply_all([hold("damaged"), hold("cart", 2)])
    blob = await redis.hget(store.partition_of("LAMP").keys.reservations, "cart")
    assert isinstance(blob, bytes)
    right = await reservation_of(store, "damaged")
    for unreadable in (b"", b"*", blob[:-1], blob + b"\x01", blob.replace(b"held", b"heap")):
        await redis.hset(store.partition_of("LAMP").keys.reservations, "damaged", unreadable)
        outcomes = await store.apply_all(
            [hold("cart", 2), Release(reservation_id="damaged"), hold("cart", 2)]
        )
        assert [type(outcome) for outcome in outcomes] == [Repeated, Faulted, Repeated]
    repair = RepairReservation(reservation_id="damaged", right=right)
    assert isinstance(await store.apply(repair), Applied)
    assert (await reservation_of(store, "damaged")).lines == right.lines


async def test_a_damaged_order_fails_only_who_asks_for_it(store: Store, redis: Redis) -> None:
    await store.apply_all([hold("one"), hold("two")])
    await redis.hset(store.partition_of("LAMP").keys.orders, "o-1", b"\x92\xc0\x90")
    one, two = await store.apply_all(
        [
            Confirm(reservation_id="one", order_id="o-1"),
            Confirm(reservation_id="two", order_id="o-2"),
        ]
    )
    assert isinstance(one, Faulted)
    assert not isinstance(two, Faulted)


async def test_a_damaged_list_of_locations_lets_no_half_written_level_through(
    store: Store, redis: Redis
) -> None:
    await redis.hset(store.partition_of("NEW").keys.stock, "NEW", b"\x92\xa2DC")
    new, rope = await store.apply_all([receipt("new", 3, sku="NEW"), hold("rope", sku="ROPE")])
    assert isinstance(new, Faulted)
    assert isinstance(rope, Held)
    assert await store.levels([("NEW", "DC")]) == [None]


@pytest.mark.parametrize("no_text", NO_TEXTS)
async def test_a_customer_whose_name_is_no_text_fails_only_who_asks_for_the_cart(
    store: Store, redis: Redis, no_text: bytes
) -> None:
    await store.apply_all([structs.replace(hold("damaged"), customer_id="BUYER-7"), hold("cart")])
    blob = await redis.hget(store.partition_of("LAMP").keys.reservations, "damaged")
    assert isinstance(blob, bytes)
    damaged = blob.replace(b"BUYER-7", no_text.ljust(7, b"x"))
    assert damaged != blob
    await redis.hset(store.partition_of("LAMP").keys.reservations, "damaged", damaged)
    outcomes = await store.apply_all(
        [hold("cart"), Release(reservation_id="damaged"), hold("another")]
    )
    assert [type(outcome) for outcome in outcomes] == [Repeated, Faulted, Held]
    with pytest.raises(Unreadable):
        await store.reservation("damaged")
    assert await store.reservation("cart") is not None


@pytest.mark.parametrize("name", ["é", "中文", "한", "\u0800", "\uffff", "😀", "\U0010ffff"])
async def test_a_customer_may_have_a_name_of_any_script(store: Store, name: str) -> None:
    await store.apply(structs.replace(hold("cart"), customer_id=f"a{name}z{name}"))
    assert isinstance(await store.apply(Release(reservation_id="cart", key="k")), Changed)
    assert (await reservation_of(store, "cart")).customer_id == f"a{name}z{name}"


@pytest.mark.parametrize("blob", [b"", b"\xc1", b"\x91\xa2\xff\xfe"])
async def test_a_list_of_locations_that_cannot_be_read_spoils_no_page_of_others(
    store: Store, redis: Redis, blob: bytes
) -> None:
    await redis.hset(store.partition_of("LAMP").keys.stock, "LAMP", blob)
    assert await store.locations_of(["LAMP", "ROPE"]) == [[], ["DC"]]


async def test_an_answer_that_cannot_be_read_fails_only_who_asked_for_it(
    redis_url: str, lamps: int
) -> None:
    source = join(part(CLOCK))
    garbled = """
for i, command in ipairs(commands) do
  if command.reservation_id == 'garbled' then
    replies[i][3] = '\\156\\255'
  end
end
return replies
"""
    assert source.rstrip().endswith("return replies")
    script = Script(source.rstrip().removesuffix("return replies") + garbled)
    store = Partition(redis_url, lamps, script=script)
    await store.open(LedgerInHand())
    await store.apply(receipt("lamps", 10))
    first, damaged, last = await asyncio.gather(
        store.apply(hold("first")),
        store.apply(hold("garbled")),
        store.apply(hold("last")),
        return_exceptions=True,
    )
    assert isinstance(first, Held)
    assert isinstance(damaged, Unavailable)
    assert isinstance(last, Held)
    assert isinstance(await store.apply(hold("later")), Held)
    await store.close()
