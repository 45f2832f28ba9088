"""What somebody changes in Redis by hand is found and set right, and only that."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from atp_service.inventory.commands import Release
from atp_service.inventory.outcomes import Held
from atp_service.ledger.reconciliations import Drift, Scope
from tests.builders import confirm, hold, receipt, sale
from tests.recorders import SECONDS
from tests.retailer import until
from tests.workers.reconcile.trade import (
    Kind,
    Shop,
    Traffic,
    assorted,
    changed,
    counted,
    decoded,
    level_name,
)

pack = msgspec.msgpack.encode
SKU_0 = level_name("SKU-0")
Damage = Callable[[Shop], Awaitable[Any]]


def in_level(name: str, place: int, change: Callable[[Any], Any]) -> Damage:
    """One place of a level's array is changed."""

    async def damage(shop: Shop) -> None:
        level = decoded(await shop.value("stock", name))
        level[place] = change(level[place])
        await shop.redis.hset(await shop.key_of("stock", name), name, pack(level))

    return damage


def in_reservation(key: str, change: Callable[[Any], None]) -> Damage:
    async def damage(shop: Shop) -> None:
        document = decoded(await shop.value("reservations", key))
        change(document)
        await shop.redis.hset(await shop.key_of("reservations", key), key, pack(document))

    return damage


def put(kind: Kind, name: str, value: bytes) -> Damage:
    async def damage(shop: Shop) -> None:
        await shop.redis.hset(await shop.key_of(kind, name), name, value)

    return damage


def drop(kind: Kind, name: str) -> Damage:
    async def damage(shop: Shop) -> None:
        await shop.redis.hdel(await shop.key_of(kind, name), name)

    return damage


def due(member: str, at_ms: float) -> Damage:
    async def damage(shop: Shop) -> None:
        await shop.redis.zadd(await shop.key_of("deadlines", member), {member: at_ms})

    return damage


def not_due(member: str) -> Damage:
    async def damage(shop: Shop) -> None:
        await shop.redis.zrem(await shop.key_of("deadlines", member), member)

    return damage


def _one_more_reserved(document: Any) -> None:
    document[12][0][4] += 1


def _confirmed(document: Any) -> None:
    document[0], document[4] = "confirmed", "order-nobody-placed"


FAR = 9_999_999_999_999.0
LOST = b"\xc1 not msgpack"
A_LEVEL = pack([7, 0, 0, 1, 1, 1_764_000_000_000])

# What is done by hand, and the one thing that is then to be found.
DAMAGES: dict[str, tuple[Damage, dict[str, str]]] = {
    "a level's on_hand": (
        in_level(SKU_0, 0, lambda units: units + 5),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level's reserved": (
        in_level(SKU_0, 1, lambda units: units + 5),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level's units in a state": (
        in_level(level_name("SKU-4"), 6, lambda extras: extras | {"states": {"damaged": 1}}),
        {"kind": "level", "sku": "SKU-4", "location": "DC-1"},
    ),
    "a level's version, up": (
        in_level(SKU_0, 3, lambda version: version + 10),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level's version, down": (
        in_level(SKU_0, 3, lambda version: version - 1),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level deleted": (
        drop("stock", SKU_0),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level forged": (
        put("stock", level_name("SKU-0", "NOWHERE"), A_LEVEL),
        {"kind": "level", "sku": "SKU-0", "location": "NOWHERE"},
    ),
    "a level of an unknown SKU forged": (
        put("stock", level_name("NOTHING"), A_LEVEL),
        {"kind": "level", "sku": "NOTHING", "location": "DC-1"},
    ),
    "a level's bytes": (
        put("stock", SKU_0, LOST),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level that is something else": (
        put("stock", SKU_0, pack({"on_hand": 5})),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level of texts": (
        put("stock", SKU_0, pack(["1", "2", "3", "4", "5", "6"])),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a level of fractions": (
        put("stock", SKU_0, pack([1.5, 0, 0, 4, 1, 1_764_000_000_000])),
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"},
    ),
    "a SKU's list of locations deleted": (
        drop("stock", "SKU-1"),
        {"kind": "locations", "sku": "SKU-1", "location": "DC-1"},
    ),
    "a location missing on the list": (
        put("stock", "SKU-0", pack(["DC-1"])),
        {"kind": "locations", "sku": "SKU-0", "location": "STORE-1"},
    ),
    "a location too many on the list": (
        put("stock", "SKU-1", pack(["DC-1", "NOWHERE"])),
        {"kind": "locations", "sku": "SKU-1", "location": "NOWHERE"},
    ),
    "a location twice on the list": (
        put("stock", "SKU-1", pack(["DC-1", "DC-1"])),
        {"kind": "locations", "sku": "SKU-1", "location": "DC-1"},
    ),
    "the list's bytes": (
        put("stock", "SKU-1", LOST),
        {"kind": "locations", "sku": "SKU-1", "location": "DC-1"},
    ),
    "a list of an unknown SKU": (
        put("stock", "NOTHING", pack(["DC-1"])),
        {"kind": "locations", "sku": "NOTHING", "location": "DC-1"},
    ),
    "an unknown SKU's list's bytes": (
        put("stock", "NOTHING", LOST),
        {"kind": "locations", "sku": "NOTHING", "location": ""},
    ),
    "a held reservation's units": (
        in_reservation("cart-held", _one_more_reserved),
        {"kind": "reservation", "reservation_id": "cart-held"},
    ),
    "a held reservation confirmed by hand": (
        in_reservation("cart-held", _confirmed),
        {"kind": "reservation", "reservation_id": "cart-held"},
    ),
    "a confirmed reservation deleted": (
        drop("reservations", "cart-confirmed"),
        {"kind": "reservation", "reservation_id": "cart-confirmed"},
    ),
    "a closed reservation deleted": (
        drop("reservations", "cart-released"),
        {"kind": "reservation", "reservation_id": "cart-released"},
    ),
    "a reservation forged": (
        put(
            "reservations",
            "cart-forged",
            pack(
                ["held", 1, "", "", "", 1, int(FAR), 0, 0, "x", "", 3, [["1", "SKU-0", "DC-1", 1]]]
            ),
        ),
        {"kind": "reservation", "reservation_id": "cart-forged"},
    ),
    "a reservation's bytes": (
        put("reservations", "cart-held", LOST),
        {"kind": "reservation", "reservation_id": "cart-held"},
    ),
    "a held reservation's deadline removed": (
        not_due("rcart-held"),
        {"kind": "deadline", "reservation_id": "cart-held"},
    ),
    "a held reservation's deadline moved": (
        due("rcart-held", FAR),
        {"kind": "deadline", "reservation_id": "cart-held"},
    ),
    "a closed reservation's deadline removed": (
        not_due("rcart-released"),
        {"kind": "deadline", "reservation_id": "cart-released"},
    ),
    "a closed reservation's deadline moved": (
        due("rcart-released", FAR),
        {"kind": "deadline", "reservation_id": "cart-released"},
    ),
    "a confirmed reservation's deadline": (
        due("rcart-confirmed", FAR),
        {"kind": "deadline", "reservation_id": "cart-confirmed"},
    ),
    "a deadline of nothing": (
        due("rcart-nobody-held", FAR),
        {"kind": "deadline", "reservation_id": "cart-nobody-held"},
    ),
    "an order changed": (
        put("orders", "order-confirmed", pack([["cart-second"], []])),
        {"kind": "order", "order_id": "order-confirmed"},
    ),
    "an order with a reservation too many": (
        put("orders", "order-fulfilled", pack([["cart-fulfilled", "cart-held"], []])),
        {"kind": "order", "order_id": "order-fulfilled"},
    ),
    "an order deleted": (
        drop("orders", "order-fulfilled"),
        {"kind": "order", "order_id": "order-fulfilled"},
    ),
    "an order forged": (
        put("orders", "order-forged", pack([["cart-held"], []])),
        {"kind": "order", "order_id": "order-forged"},
    ),
    "an order's bytes": (
        put("orders", "order-confirmed", LOST),
        {"kind": "order", "order_id": "order-confirmed"},
    ),
    "an early order deleted": (
        drop("orders", "order-early"),
        {"kind": "order", "order_id": "order-early"},
    ),
    "an early order's units": (
        put("orders", "order-early", pack([[], [["SKU-3", "DC-1", 2]]])),
        {"kind": "order", "order_id": "order-early"},
    ),
    "an early order's deadline removed": (
        not_due("oorder-early"),
        {"kind": "deadline", "order_id": "order-early"},
    ),
    "an early order's deadline moved": (
        due("oorder-early", FAR),
        {"kind": "deadline", "order_id": "order-early"},
    ),
    "a confirmed order's deadline": (
        due("oorder-confirmed", FAR),
        {"kind": "deadline", "order_id": "order-confirmed"},
    ),
    "a deadline of no order": (
        due("oorder-nobody-placed", FAR),
        {"kind": "deadline", "order_id": "order-nobody-placed"},
    ),
}

# A repair is an entry: it counts in the version of what it mends, and mends its deadline anew.
_TOUCHED = {
    "level": lambda drift: {
        "stock": {level_name(drift.sku, drift.location).encode(), drift.sku.encode()}
    },
    "reservation": lambda drift: {
        "reservations": {drift.reservation_id.encode()},
        "deadlines": {f"r{drift.reservation_id}".encode()},
    },
    "order": lambda drift: {
        "orders": {drift.order_id.encode()},
        "deadlines": {f"o{drift.order_id}".encode()},
    },
}


def _touched(drift: Drift) -> dict[str, set[bytes]]:
    if drift.sku is not None:
        return _TOUCHED["level"](drift)
    return _TOUCHED["reservation" if drift.reservation_id is not None else "order"](drift)


@pytest.mark.parametrize("what", DAMAGES)
async def test_it_is_found_and_set_right_and_nothing_else_is_touched(shop: Shop, what: str) -> None:
    damage, expected = DAMAGES[what]
    await assorted(shop)
    assert await shop.drift() == []
    before = await shop.kept()
    await damage(shop)
    assert changed(before, await shop.kept())

    only_told = await shop.drift(repair=False)
    assert [_name(drift) for drift in only_told] == [expected]
    assert not only_told[0].repaired
    (drift,) = await shop.drift()
    assert _name(drift) == expected
    assert drift.repaired
    assert drift.entry is not None

    after = await shop.kept()
    allowed = _touched(drift)
    for kind, names in changed(before, after).items():
        assert names <= allowed.get(kind, set()), names
    assert after["stock"].keys() == before["stock"].keys()
    assert after["reservations"].keys() == before["reservations"].keys()
    assert after["orders"].keys() == before["orders"].keys()
    assert after["deadlines"].keys() == before["deadlines"].keys()
    assert await shop.drift() == []
    ((detail,),) = shop.asked(
        "SELECT detail FROM exceptions WHERE kind = 'drift' AND status = 'open'"
    )
    assert detail, "whoever owns the exception isn't told what differed"
    # All is again as if nothing had happened.
    outcome = await shop.store.apply(hold("cart-after", "SKU-0", "SKU-3"))
    assert isinstance(outcome, Held)
    await shop.do(Release(reservation_id="cart-held"), Release(reservation_id="cart-confirmed"))
    assert await shop.drift() == []


def _name(drift: Drift) -> dict[str, str]:
    names = ("kind", "sku", "location", "reservation_id", "order_id")
    return {name: value for name in names if (value := getattr(drift, name)) is not None}


async def test_a_number_that_a_command_has_come_over_is_found_in_the_ledger_itself(
    shop: Shop,
) -> None:
    await assorted(shop)
    for place in (0, 1, 2):
        await in_level(SKU_0, place, lambda units: units + 5)(shop)
    await shop.do(sale("SKU-0", 2), hold("cart-over", "SKU-0"))
    (level,) = await shop.store.levels([("SKU-0", "DC-1")])
    assert level is not None
    (drift,) = await shop.drift()
    assert _name(drift) == {"kind": "level", "sku": "SKU-0", "location": "DC-1"}
    assert drift.repaired
    (mended,) = await shop.store.levels([("SKU-0", "DC-1")])
    assert mended is not None
    assert (mended.on_hand, mended.reserved, mended.allocated) == (
        level.on_hand - 5,
        level.reserved - 5,
        level.allocated - 5,
    )
    assert await shop.drift() == []


async def test_what_was_counted_since_is_not_taken_back(shop: Shop) -> None:
    """The count's delta is from a number that nobody explains; what it says stands all the same."""
    await shop.do(receipt("SKU-1", 10))
    await in_level(level_name("SKU-1"), 0, lambda units: units + 5)(shop)
    await shop.do(sale("SKU-1"))
    level = decoded(await shop.value("stock", level_name("SKU-1")))
    assert level[0] == 14
    await shop.do(counted("SKU-1", 9, moves=level[4]), sale("SKU-1", 2))
    before = await shop.kept()
    assert await shop.drift() == []
    assert changed(before, await shop.kept()) == {}
    # But what somebody changes after it is found.
    await in_level(level_name("SKU-1"), 0, lambda units: units + 5)(shop)
    await shop.do(sale("SKU-1"))
    (drift,) = await shop.drift()
    assert drift.repaired
    assert decoded(await shop.value("stock", level_name("SKU-1")))[0] == 6


async def test_a_level_that_begins_anew_after_it_was_deleted_is_recorded_and_set_right(
    shop: Shop,
) -> None:
    await shop.do(receipt("SKU-1", 10), sale("SKU-1", 2))
    await drop("stock", level_name("SKU-1"))(shop)
    await shop.do(sale("SKU-1"))  # version 1, a second time
    (drift,) = await shop.drift()
    assert drift.repaired
    assert decoded(await shop.value("stock", level_name("SKU-1")))[0] == 7
    await shop.do(sale("SKU-1"))
    assert await shop.drift() == []


async def test_units_of_a_reservation_that_were_changed_and_given_back_are_found(
    shop: Shop,
) -> None:
    await assorted(shop)
    await in_reservation("cart-held", _one_more_reserved)(shop)
    await shop.do(Release(reservation_id="cart-held"))
    (drift,) = await shop.drift()
    assert _name(drift) == {"kind": "level", "sku": "SKU-0", "location": "DC-1"}
    (level,) = await shop.store.levels([("SKU-0", "DC-1")])
    assert level is not None
    assert level.reserved == 0
    assert await shop.drift() == []


async def test_many_kinds_of_damage_at_once_are_each_found(shop: Shop) -> None:
    await assorted(shop, skus=40)
    for number in range(10, 20):
        await in_level(level_name(f"SKU-{number}"), 0, lambda units: units - 1)(shop)
    await drop("stock", level_name("SKU-20"))(shop)
    await put("stock", level_name("SKU-21"), LOST)(shop)
    await not_due("rcart-held")(shop)
    await drop("orders", "order-confirmed")(shop)
    run = await shop.reconcile()
    assert (run.report.drift_total, run.report.repaired) == (14, 14)
    assert await shop.drift() == []


@pytest.mark.parametrize("place", [0, 1])
async def test_a_level_that_everybody_buys_is_repaired_while_they_do(
    shop: Shop, place: int
) -> None:
    skus = ["SKU-0", "SKU-1", "SKU-2"]
    await shop.do(*[receipt(sku, 100_000) for sku in skus])
    traffic = Traffic(shop, skus, seed=2)
    async with traffic.going_on():

        async def under_way() -> bool:
            return traffic.commands > 200

        await until(under_way, SECONDS)
        add = "local l = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))"
        add += "l[tonumber(ARGV[2])] = l[tonumber(ARGV[2])] + 7"
        add += " redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(l))"
        await shop.redis.eval(add, 1, await shop.key_of("stock", SKU_0), SKU_0, place + 1)
        (drift,) = await shop.drift()
        assert _name(drift) == {"kind": "level", "sku": "SKU-0", "location": "DC-1"}
        assert drift.repaired
        assert await shop.drift() == []
    assert await shop.drift() == []


async def test_a_scope_compares_nothing_beside_it(shop: Shop) -> None:
    await assorted(shop)
    await in_level(SKU_0, 0, lambda units: units + 5)(shop)
    await in_level(level_name("SKU-1"), 0, lambda units: units + 5)(shop)
    run = await shop.reconcile(scope=Scope(skus=["SKU-1"]))
    assert [_name(drift) for drift in run.report.drift] == [
        {"kind": "level", "sku": "SKU-1", "location": "DC-1"}
    ]
    assert run.report.compared.levels == 1
    run = await shop.reconcile(scope=Scope(locations=["STORE-1"]))
    assert (run.report.compared.levels, run.report.drift) == (1, [])
    run = await shop.reconcile(scope=Scope(skus=["SKU-0"], locations=["DC-1", "STORE-1"]))
    assert [_name(drift) for drift in run.report.drift] == [
        {"kind": "level", "sku": "SKU-0", "location": "DC-1"}
    ]


async def test_what_no_command_can_name_is_told_and_left_to_a_person(shop: Shop) -> None:
    await assorted(shop)
    keys = shop.store.partition_of("SKU-0").keys
    await shop.redis.zadd(keys.deadlines, {"xyz": FAR})
    await shop.redis.hset(keys.stock, b"\xff\xfe", b"1")
    await shop.redis.hset(keys.reservations, b"with \0 in it", b"1")
    found = await shop.drift()
    assert [(drift.kind, drift.repaired) for drift in found] == [
        ("level", False),
        ("reservation", False),
        ("deadline", False),
    ]
    await shop.do(confirm("cart-held", "order-held"))
