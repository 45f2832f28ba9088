"""Redis is a function of its journal: emptied, and filled from the folded entries, it is the same.

What cannot happen: a value, a deadline or a dedupe mark that no entry tells. How it tries: random
batches, with the clock at the edges of the deadlines and of the window; then every key is compared,
byte for byte. Outside of the journal are when a feed was last heard (`f:…`), and when the window
was rotated; `clock` is the test's own.
"""

from typing import Any

from hypothesis import HealthCheck, given, settings
from redis import Redis

from atp_service.inventory.fold import Folded
from atp_service.inventory.journal import FORMAT, RULES, decode_head, entry_from_stream
from atp_service.store.script import constants
from tests.inventory.agreement import KEYS, Pair, Step, marks, script_in_hand
from tests.inventory.histories import histories

OUTSIDE = (b"rotated_at", b"clock")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(history=histories)
def test_an_emptied_redis_is_filled_from_its_journal_byte_for_byte(
    unsynced_redis: Redis, history: list[Step]
) -> None:
    redis: Any = unsynced_redis
    pair = Pair(redis, script_in_hand())
    for step in history:
        pair.run(step)
    before, journal = dump(redis), redis.xrange(KEYS.journal)
    rotated_at = pair.model.rotated_at

    redis.flushdb()
    folded = Folded()
    epoch = 1
    for name, fields in journal:
        entry = entry_from_stream(name, [part for pair in fields.items() for part in pair])
        folded.take(entry)
        epoch = decode_head(entry.head).epoch
    hashes: dict[str, dict[str, Any]] = {
        KEYS.stock: folded.stock,
        KEYS.reservations: folded.reservations,
        KEYS.orders: folded.orders,
        KEYS.seen: dict.fromkeys(marks(folded, rotated_at, None), ""),
        KEYS.seen_before: dict.fromkeys(marks(folded, pair.rotated_before, rotated_at), ""),
        KEYS.meta: {
            "format": FORMAT,
            "epoch": epoch,
            "seq": folded.seq,
            "digest": folded.digest,
            "time": folded.time,
        },
    }
    for key, values in hashes.items():
        if values:
            redis.hset(key, mapping=values)
    if folded.deadlines:
        redis.zadd(KEYS.deadlines, folded.deadlines)
    assert dump(redis) == before


def test_the_script_and_the_model_have_the_same_rules() -> None:
    assert int(constants()["RULES"]) == RULES


def dump(redis: Any) -> dict[str, Any]:
    """Every key of the partition but its journal, and but what is outside of it."""
    found: dict[str, Any] = {
        key: redis.hgetall(key)
        for key in (KEYS.stock, KEYS.reservations, KEYS.orders, KEYS.seen, KEYS.seen_before)
    }
    found[KEYS.deadlines] = redis.zrange(KEYS.deadlines, 0, -1, withscores=True)
    found[KEYS.meta] = {
        name: value
        for name, value in redis.hgetall(KEYS.meta).items()
        if name not in OUTSIDE and not name.startswith(b"f:")
    }
    others = {key.decode() for key in redis.scan_iter()} - {KEYS.journal, *found}
    assert not others
    return found
