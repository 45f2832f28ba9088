"""A repair that comes again, at once or late, changes nothing.

What cannot happen: units added twice because a reply was lost, because two reconcilers saw the
same, or because one of them was frozen and lets go later. How it tries: damage and repairs at
random; each repair that was applied is sent again at once, and again after every later batch.
"""

from typing import Any

from hypothesis import HealthCheck, given, settings
from redis import Redis

from atp_service.inventory.commands import RepairLevel, RepairOrder, RepairReservation
from atp_service.inventory.outcomes import Applied, Moved, Unchanged
from tests.inventory.agreement import KEYS, Mend, Pair, Step, script_in_hand
from tests.inventory.histories import damaged_histories

HISTORIES = 100
Repair = RepairLevel | RepairReservation | RepairOrder


@settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=damaged_histories)
def test_a_repair_that_comes_again_changes_nothing(
    unsynced_redis: Redis, history: list[Step]
) -> None:
    pair = Pair(unsynced_redis, script_in_hand())
    late: dict[str, Repair] = {}  # the last one of each image
    for step in history:
        if step.damages or step.aim in ("window", "last"):
            late = {}  # another damage; or what is repaired may be forgotten by now
        aim = step.aim
        for damage in step.damages:
            pair.damage(damage)
        for command in step.commands:
            repair = pair.completed(command)
            (outcome,) = pair.run(Step(aim, step.promises_refused, [repair]))
            aim = "stay"
            if isinstance(command, Mend) and isinstance(outcome, Applied):
                assert isinstance(repair, Repair)
                changes_nothing(pair, repair)
                late.pop(command.image, None)
                if not _may_do_more(repair):
                    late[command.image] = repair
        for repair in late.values():
            changes_nothing(pair, repair)


def _may_do_more(repair: Repair) -> bool:
    """What has an end may be forgotten meanwhile, so that it is gone as when it was found."""
    if isinstance(repair, RepairLevel):
        return False
    return repair.right is not None and repair.right.kept_until > 0


def changes_nothing(pair: Pair, repair: Repair) -> None:
    before = kept(pair.redis)
    (outcome,) = pair.run(Step("stay", False, [repair]))
    assert isinstance(outcome, Moved | Unchanged)
    assert kept(pair.redis) == before


def kept(redis: Any) -> Any:
    return (
        redis.hgetall(KEYS.stock),
        redis.hgetall(KEYS.reservations),
        redis.hgetall(KEYS.orders),
        redis.zrange(KEYS.deadlines, 0, -1, withscores=True),
        redis.xlen(KEYS.journal),
    )
