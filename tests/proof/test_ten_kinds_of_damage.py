"""Whatever somebody does to the numbers, the command that should find it does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from redis import Redis

from atp_service.store.keys import keys_of
from tests.instance import Instance
from tests.proof.atp_commands import lose_redis, printed_json, redis_of

KEYS = keys_of(0)
MUG, PLATE = "MUG\x1fDC-1", "PLATE\x1fDC-1"
Damage = Callable[[Redis], Any]


def _event(number: int, kind: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"event-{number}",
        "source": "wms/dc-1",
        "type": f"atp.stock.{kind}.v1",
        "time": "2026-11-20T10:00:00.000Z",
        "data": {"sku": "MUG", "location": "DC-1", **data},
    }


def trade(instance: Instance) -> None:
    """A delivery, a cart that is live, an order that is paid for, and it all in the ledger."""
    events = [_event(n, "receipt", quantity=10) for n in range(3)]
    events += [
        _event(3, "receipt", sku="PLATE", quantity=5),
        _event(4, "receipt", sku="BOWL", quantity=5),
    ]
    instance.http.post("/v1/stock-events", json=events).raise_for_status()
    for cart in ("live", "left", "paid"):
        line = {"sku": "MUG", "location": "DC-1", "quantity": 2}
        hold = {"reservation_id": cart, "lines": [line], "ttl_seconds": 3_600}
        instance.http.post("/v1/reservations", json=hold).raise_for_status()
    instance.until(lambda: instance.recorded_seq() > 0, "the worker records")
    order = {"order_id": "order-1", "durability": "ledger"}
    instance.http.post("/v1/reservations/paid/confirm", json=order).raise_for_status()


def _forge_on_hand(redis: Redis) -> None:
    level = msgspec.msgpack.decode(redis.hget(KEYS.stock, PLATE))  # type: ignore[arg-type]  # bytes here
    level[0] += 1
    redis.hset(KEYS.stock, PLATE, msgspec.msgpack.encode(level))


IN_REDIS: dict[str, tuple[Damage, dict[str, str]]] = {
    "a level's number": (_forge_on_hand, {"kind": "level", "sku": "PLATE"}),
    "a level removed": (lambda redis: redis.hdel(KEYS.stock, MUG), {"kind": "level", "sku": "MUG"}),
    "a SKU's list of locations": (
        lambda redis: redis.hset(KEYS.stock, "BOWL", msgspec.msgpack.encode(["NOWHERE"])),
        {"kind": "locations", "sku": "BOWL"},
    ),
    "a hold removed": (
        lambda redis: redis.hdel(KEYS.reservations, "left"),
        {"kind": "reservation", "reservation_id": "left"},
    ),
    "a deadline removed": (
        lambda redis: redis.zrem(KEYS.deadlines, "rlive"),
        {"kind": "deadline", "reservation_id": "live"},
    ),
    "an order's index": (
        lambda redis: redis.hdel(KEYS.orders, "order-1"),
        {"kind": "order", "order_id": "order-1"},
    ),
}

_ONE_BIT = (
    "UPDATE entries_from_0 SET command = set_byte(command, 5, get_byte(command, 5) # 1)"
    " WHERE seq = 2"
)
_REMOVE = (
    "CREATE TABLE removed AS SELECT * FROM entries_from_0 WHERE seq = 3;"
    " DELETE FROM entries_from_0 WHERE seq = 3"
)
# Each with what undoes it, and the check that must not hold.
IN_THE_LEDGER = {
    "a byte of an entry": (_ONE_BIT, _ONE_BIT, "chain"),
    "an entry removed": (_REMOVE, "INSERT INTO entries SELECT * FROM removed", "chain"),
    "a movement": (
        "UPDATE movements SET on_hand_delta = on_hand_delta + 1 WHERE seq = 1",
        "UPDATE movements SET on_hand_delta = on_hand_delta - 1 WHERE seq = 1",
        "movements",
    ),
    "a level's row": (
        "UPDATE levels SET on_hand = on_hand + 1 WHERE sku = 'PLATE'",
        "UPDATE levels SET on_hand = on_hand - 1 WHERE sku = 'PLATE'",
        "levels",
    ),
}


def test_each_is_found_by_the_command_that_should_find_it(
    instance: Instance, superuser_url: str, tmp_path: Path
) -> None:
    instance.start_serving()
    instance.start("worker")
    trade(instance)
    verdict = printed_json(instance, "verify")
    assert verdict["holds"]

    with redis_of(instance) as redis:
        for damage, _ in IN_REDIS.values():
            damage(redis)
    assert printed_json(instance, "verify", code=1)["by_check"] == {"redis": len(IN_REDIS)}
    found = printed_json(instance, "reconcile", code=1)["report"]["drift"]
    for what, (_, expected) in IN_REDIS.items():
        assert expected in [{name: drift[name] for name in expected} for drift in found], what
    assert all(drift["repaired"] for drift in found)
    assert printed_json(instance, "reconcile")["report"]["drift"] == []

    with psycopg.connect(superuser_url, autocommit=True) as owner:
        for table in ("entries_from_0", "movements"):
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for what, (damage_by, undo_by, check) in IN_THE_LEDGER.items():
            owner.execute(damage_by.encode())
            verdict = printed_json(instance, "verify", "--no-redis", code=1)
            assert verdict["by_check"].get(check), (what, verdict)
            assert verdict["first"], what
            owner.execute(undo_by.encode())

    verdict = printed_json(instance, "verify")
    assert verdict["holds"]
    lose_redis(instance)
    again = printed_json(instance, "verify")
    assert (again["holds"], again["digest"]) == (True, verdict["digest"])

    # The ERP believes in 7 plates; there are 5.
    stock_list, mapping = tmp_path / "list.csv", tmp_path / "list.toml"
    stock_list.write_text("sku,units\nPLATE,7\n")
    mapping.write_text(
        'feed = "erp"\n[columns]\nsku = {}\nunits = { number = true }\n'
        '[data]\nlocation = "DC-1"\nsku = { column = "sku" }\nquantity = { column = "units" }\n'
        '[[rules]]\ntype = "snapshot"\n'
    )
    at = json.loads(instance.http.get("/v1/availability?sku=PLATE").content)["as_of"]
    printed_json(instance, "snapshot", str(stock_list), "--map", str(mapping), "--at", at)
    queue = instance.http.get("/v1/exceptions?kind=snapshot-difference").json()["items"]
    assert [(case["sku"], case["units"], case["owner"]) for case in queue] == [
        ("PLATE", 2, "finance")
    ]
