"""The promises to the buyers, added up: the units that were surely theirs at one moment.

Only their own clocks and answers count. A hold is surely alive from its answer until its time,
counted from when it was first sent, is over, or until the buyer sends something that ends it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby

from atp_service.rehearse.history import Call, History
from atp_service.rehearse.journey import Cart

Change = tuple[float, int]  # when, and by how many units
_FOREVER = float("inf")


def promised_beyond(history: History) -> dict[str, int]:
    """The units promised at once beyond the stock, by SKU; SKUs without any are left out."""
    changes: dict[str, list[Change]] = defaultdict(list)
    for begin, end, cart in _promises(history):
        for line in cart:
            changes[line.sku].append((begin, line.quantity))
            changes[line.sku].append((end, -line.quantity))
    beyond = {sku: _most(ours) - history.received.get(sku, 0) for sku, ours in changes.items()}
    return {sku: units for sku, units in beyond.items() if units > 0}


def _most(changes: list[Change]) -> int:
    # What ends at a moment ends before what begins then.
    units = most = 0
    for _, change in sorted(changes):
        units += change
        most = max(most, units)
    return most


def _promises(history: History) -> Iterator[tuple[float, float, Cart]]:
    """The carts that were surely held or sold, each with its first and last moment."""
    clicks = [call for call in history.calls if call.kind in ("hold", "change", "confirm")]
    clicks.sort(key=lambda call: call.reference)
    for _, ours in groupby(clicks, key=lambda call: call.reference):
        for begin, end, cart in _spans(list(ours), history.hold_seconds):
            if begin < end:
                yield begin, end, cart


def _spans(calls: list[Call], hold_seconds: int) -> Iterator[tuple[float, float, Cart]]:
    """The spans of one reservation."""
    sent = {kind: _first_sent(calls, kind) for kind in ("hold", "change", "confirm")}
    answered = {kind: _first_answer(calls, kind) for kind in ("hold", "change", "confirm")}
    ended = sent["confirm"]
    if held := answered["hold"]:
        changes = [call for call in calls if call.kind == "change"]
        stays = any(call.refused or call.cart == held.cart for call in changes)
        changed_away = _FOREVER if stays else sent["change"]
        end = min(sent["hold"] + hold_seconds, changed_away, ended)
        yield held.answered, end, held.cart
    changed = answered["change"]
    # The content of the current generation again is a repeat: it doesn't move the deadline.
    if changed and not (held and changed.cart == held.cart):
        yield changed.answered, min(sent["change"] + hold_seconds, ended), changed.cart
    if confirmed := answered["confirm"]:
        yield confirmed.answered, _FOREVER, confirmed.cart


def _first_sent(calls: Iterable[Call], kind: str) -> float:
    return min((call.sent for call in calls if call.kind == kind and call.sent), default=_FOREVER)


def _first_answer(calls: Iterable[Call], kind: str) -> Call | None:
    good = (call for call in calls if call.kind == kind and call.accepted)
    return min(good, key=lambda call: call.answered, default=None)
