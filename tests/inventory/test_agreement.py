"""The real script does what the model says, whatever comes in which order at which moment.

What cannot happen: a unit promised twice, a level that no entry explains, a digest that does not
follow, a repeat that changes something; a damaged value that spoils more than what touches it. How
it tries: random batches over few names, with the clock one millisecond before, at and after the
deadlines that stand; values changed, deleted and made unreadable behind the script's back.
"""

from hypothesis import HealthCheck, given, settings
from redis import Redis

from tests.inventory.agreement import Step, play, script_in_hand
from tests.inventory.histories import damaged_histories, histories

HISTORIES = 300


@settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories)
def test_the_script_and_the_model_agree_on_every_history(
    unsynced_redis: Redis, history: list[Step]
) -> None:
    play(unsynced_redis, script_in_hand(), history)


@settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=damaged_histories)
def test_they_agree_on_what_becomes_of_damage_and_on_every_repair(
    unsynced_redis: Redis, history: list[Step]
) -> None:
    play(unsynced_redis, script_in_hand(), history)
