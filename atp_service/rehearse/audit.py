"""The audit: two witnesses, the ledger and the buyers, and no word of the service.

Every figure counts what must not be. Each has its own way of going wrong, so each is worked out
from the rawest thing there is: the ledger's entries, and what the clients wrote down.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from atp_service.rehearse.client_oversell import promised_beyond
from atp_service.rehearse.history import FACTS, Call, History
from atp_service.rehearse.ledger_fold import Books, Place, Promise, units_of
from atp_service.rehearse.ledger_reader import Numbers, Projections
from atp_service.rehearse.run_names import Goods

_EXAMPLES = 10
_TAKEN_IN = ("applied", "duplicate", "published")
# Entries that a buyer's call leaves, by the call.
_ENTRY_OF = {"hold": "hold", "change": "replace", "confirm": "confirm"}

Finding = tuple[str, int]  # in words, and the units or effects it is about


class Figure(Struct, frozen=True):
    """Something that must be 0, and the first findings where it isn't."""

    key: str
    words: str
    count: int
    examples: list[str]


class Audit(Struct, frozen=True, kw_only=True):
    """The figures, and how much was looked at."""

    figures: list[Figure]
    entries: int
    promises: int
    answers: int

    @property
    def clean(self) -> bool:
        return not any(figure.count for figure in self.figures)

    def count(self, key: str) -> int:
        return next(figure.count for figure in self.figures if figure.key == key)


def audit(
    history: History, books: Books, projections: Projections, redis: Iterable[Finding]
) -> Audit:
    """All figures; `redis` are the levels where Redis doesn't say what the ledger says."""
    findings: dict[str, tuple[str, Iterable[Finding]]] = {
        "oversold": ("units oversold, by the ledger", _oversold(history, books)),
        "promised_beyond": (
            "units oversold, by what buyers were told",
            (
                (f"{sku}: {units} more than there were", units)
                for sku, units in promised_beyond(history).items()
            ),
        ),
        "lost": ("answers given that the ledger doesn't have", _lost(history, books)),
        "doubled": ("effects counted twice", _doubled(history, books)),
        "unaccounted": ("units unaccounted for", _unaccounted(history, books, projections)),
        "redis": ("levels where Redis differs from the ledger", redis),
    }
    return Audit(
        figures=[_figure(key, words, list(found)) for key, (words, found) in findings.items()],
        entries=books.entries,
        promises=len(books.promises),
        answers=sum(call.status > 0 for call in history.calls),
    )


def _figure(key: str, words: str, found: list[Finding]) -> Figure:
    count = sum(size for _, size in found)
    return Figure(key, words, count, [said for said, _ in found[:_EXAMPLES]])


def differing(service: dict[Place, Numbers], ledger: dict[Place, Numbers]) -> Iterator[Finding]:
    """Levels that Redis has otherwise than the ledger had them at the same version."""
    for place, ours in service.items():
        theirs = ledger.get(place)
        if theirs != ours:
            yield f"{place[0]} at {place[1]}: Redis {ours}, the ledger {theirs}", 1


def _oversold(history: History, books: Books) -> Iterator[Finding]:
    """Beyond what was there at any moment; or in all, beyond what ever came."""
    promised: Counter[str] = Counter()
    for promise in books.promises.values():
        promised.update(units_of(promise.now))
    for sku, received in history.received.items():
        account = books.accounts.get((sku, history.goods.shop))
        units = max(account.beyond if account else 0, promised[sku] - received, 0)
        if units:
            yield f"{sku}: {received} received, {units} more promised", units


def _lost(history: History, books: Books) -> Iterator[Finding]:
    for call in history.calls:
        if not call.accepted:
            continue
        if call.kind in _ENTRY_OF:
            promise = books.promises.get(call.reference)
            if promise is None:
                yield f"{call.kind} of {call.reference}: answered {call.status}, not recorded", 1
            elif missing := _missing(call, promise):
                yield f"{call.kind} of {call.reference}: {missing}", 1
        elif call.kind in FACTS and call.told in _TAKEN_IN:
            key = (_source(call, history.goods), call.reference)
            if not books.events[key]:
                yield f"{call.kind} {call.reference}: {call.told}, not recorded", 1


def _missing(call: Call, promise: Promise) -> str:
    """What of an answered promise the ledger doesn't have, in words; empty if nothing."""
    if call.kind == "hold":
        short = _asked(call) - Counter(promise.first)
        return f"{dict(short)} missing from the hold" if short else ""
    if call.kind == "change":
        behind = promise.now.generation < call.generation
        return f"generation {call.generation} answered, {promise.now.generation} kept" * behind
    if promise.now.order_id != f"{call.reference}-order":
        return f"answered as confirmed, recorded as {promise.now.status}"
    short = _asked(call) - units_of(promise.now)
    return f"{dict(short)} missing from the order" if short else ""


def _doubled(history: History, books: Books) -> Iterator[Finding]:
    for key, times in books.events.items():
        if times > 1:
            yield f"event {key[1]} of {key[0]} was applied {times} times", times - 1
    asked: dict[str, Counter[str]] = {}
    for call in history.calls:
        if call.kind in _ENTRY_OF:
            # Repeats and retries are one effect, however often they were sent.
            asked.setdefault(call.reference, Counter())[_ENTRY_OF[call.kind]] = 1
            promise = books.promises.get(call.reference)
            if promise is not None and call.accepted and (extra := _extra(call, promise)):
                yield f"{call.kind} of {call.reference}: {dict(extra)} too many", extra.total()
    for reservation_id, promise in books.promises.items():
        for kind in _ENTRY_OF.values():
            times = promise.effects[kind] - asked.get(reservation_id, Counter())[kind]
            if times > 0:
                yield f"{kind} of {reservation_id} took effect {promise.effects[kind]} times", times


def _extra(call: Call, promise: Promise) -> Counter[str]:
    """Units beyond what was asked."""
    if call.kind == "hold":
        return Counter(promise.first) - _asked(call)
    if call.kind == "confirm":
        return units_of(promise.now) - _asked(call)
    return Counter()


def _unaccounted(history: History, books: Books, projections: Projections) -> list[Finding]:
    """Steps that lose units, levels that don't add up, and tables that say something else.

    The same units are missed by several comparisons; the one that misses most counts, and the
    others are told with it.
    """
    comparisons = [
        books.faults,
        list(_differences(_happened(history, books), "what happened", books)),
        list(_differences(projections.levels, "the table of levels", books)),
        list(_moved_differently(books, projections)),
        [
            (f"{reservation_id}: the table of reservations has another image", 1)
            for reservation_id, promise in books.promises.items()
            if projections.reservations.get(reservation_id) != promise.image
        ],
    ]
    comparisons.sort(key=lambda found: -sum(size for _, size in found))
    most, *others = comparisons
    return [*most, *((said, 0) for found in others for said, _ in found)]


def _happened(history: History, books: Books) -> dict[Place, Numbers]:
    """What each level must be: by the clients' record, and by the reservations there are."""
    on_hand = _expected_on_hand(history, books)
    reserved: Counter[Place] = Counter()
    allocated: Counter[Place] = Counter()
    for promise in books.promises.values():
        for line in promise.now.lines:
            reserved[line.sku, line.location] += line.reserved
            allocated[line.sku, line.location] += line.allocated
    places = {*on_hand, *reserved, *allocated}
    return {place: (on_hand[place], reserved[place], allocated[place]) for place in places}


def _differences(numbers: dict[Place, Numbers], whose: str, books: Books) -> Iterator[Finding]:
    for place in sorted({*numbers, *books.accounts}):
        account = books.accounts.get(place)
        level = account.level if account else None
        folded = (level.on_hand, level.reserved, level.allocated) if level else (0, 0, 0)
        theirs = numbers.get(place, (0, 0, 0))
        if theirs != folded:
            words = f"{place[0]} at {place[1]}: by the entries {folded}, by {whose} {theirs}"
            yield words, sum(abs(a - b) for a, b in zip(folded, theirs, strict=True))


def _moved_differently(books: Books, projections: Projections) -> Iterator[Finding]:
    for place, account in books.accounts.items():
        moved = projections.moved.get(place, 0)
        on_hand = account.level.on_hand
        if moved != on_hand:
            words = f"{place[0]} at {place[1]}: movements come to {moved}, on_hand is {on_hand}"
            yield words, abs(moved - on_hand)


def _expected_on_hand(history: History, books: Books) -> Counter[Place]:
    """What came less what went, by the clients' record; of a fact that nobody ever answered, the
    ledger says whether it happened."""
    goods = history.goods
    units: Counter[Place] = Counter()
    for sku, received in history.received.items():
        units[sku, goods.shop] += received
    happened: dict[tuple[str, str], Call] = {}
    for call in history.calls:
        if call.kind in FACTS:
            key = (_source(call, goods), call.reference)
            if call.told in _TAKEN_IN or (not call.status and books.events[key]):
                happened[key] = call
    for call in happened.values():
        location = goods.shop if call.kind == "shipment" else goods.store
        for line in call.cart:
            sign = 1 if call.kind == "receipt" else -1
            units[line.sku, location] += sign * line.quantity
    return units


def _asked(call: Call) -> Counter[str]:
    return Counter({line.sku: line.quantity for line in call.cart})


def _source(call: Call, goods: Goods) -> str:
    return goods.warehouse if call.kind == "shipment" else goods.till
