"""The real script does what the model says, whatever comes in which order at which moment.

What cannot happen: a unit promised twice, a level that no entry explains, a digest that does not
follow, a repeat that changes something; a damaged value that spoils more than what touches it. How
it tries: random batches over few names, with the clock one millisecond before, at and after the
deadlines that stand; values changed, deleted and made unreadable behind the script's back.
"""

import msgspec
from hypothesis import HealthCheck, given, settings
from redis import Redis

from atp_service.inventory.commands import (
    AnyCommand,
    Confirm,
    Expire,
    Hold,
    HoldLine,
    LineTerms,
    Receipt,
    Shipment,
    Terms,
    fingerprint,
)
from atp_service.inventory.outcomes import Again, Confirmed, Outcome, Swept
from tests.inventory.agreement import RIGHT, START, WINDOW_MS, Pair, Step, play, script_in_hand
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


def test_a_call_that_has_done_enough_reaps_no_more(unsynced_redis: Redis) -> None:
    """However many lines the carts have that lapse together."""
    pair = Pair(unsynced_redis, script_in_hand())
    skus = [f"SKU-{n}" for n in range(100)]
    pair.run(Step("stay", False, [_received(sku) for sku in skus]))
    for n in range(30):
        pair.run(Step("stay", False, [_hold_of_all(f"cart-{n}", skus)]))
    (swept,) = pair.run(Step("last", False, [Expire(limit=100)]))
    assert isinstance(swept, Swept)
    assert 0 < swept.reaped < 30
    assert swept.more
    # Who wants the units is not told that there are none.
    (wanted,) = pair.run(Step("stay", False, [_hold_of_all("late", skus, quantity=30)]))
    assert wanted == Again()


def _received(sku: str) -> Receipt:
    return Receipt(
        source="wms/1", event_id=sku, occurred_at_ms=START, sku=sku, location="DC", quantity=30
    )


def _hold_of_all(cart: str, skus: list[str], quantity: int = 1) -> Hold:
    lines = [HoldLine(line_id=sku, sku=sku, location="DC", quantity=quantity) for sku in skus]
    return Hold(reservation_id=cart, lines=lines, fingerprint=fingerprint(lines), ttl_ms=5_000)


def test_an_order_that_is_no_longer_waited_for_is_forgotten_before_a_late_confirm(
    unsynced_redis: Redis,
) -> None:
    """Else the confirm would count units of an order that an entry before it has forgotten."""
    pair = Pair(unsynced_redis, script_in_hand())

    def at(ms: int, command: AnyCommand) -> Outcome:
        pair.clock = START + ms
        (outcome,) = pair.run(Step("stay", False, [command]))
        return outcome

    line = {"sku": "A", "location": "DC"}
    at(0, _received("A"))
    sold = Shipment(
        source="w", event_id="2", occurred_at_ms=START, quantity=1, order_id="late", **line
    )
    at(1, sold)
    at(2, _hold_of_all("cart", ["A"], quantity=20))
    at(10_000, Expire(limit=100))
    at(10_001, msgspec.structs.replace(_hold_of_all("other", ["A"], quantity=25), ttl_ms=9_000))
    terms = Terms(
        channel=RIGHT, generation=0, lines=[LineTerms(line_id="A", sku="A", location="DC")]
    )
    confirmed = at(1 + WINDOW_MS, Confirm(reservation_id="cart", order_id="late", terms=terms))
    assert isinstance(confirmed, Confirmed)
    (of_cart,) = confirmed.reservation.lines
    assert (of_cart.allocated, of_cart.fulfilled) == (20, 0)
    kinds = [entry.kind for entry in pair.model.journal[-3:]]
    assert kinds == ["forget", "lapse", "confirm"]
