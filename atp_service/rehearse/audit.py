"""The audit: two witnesses, the ledger and the buyers. The service's own word does not count.

Each figure counts something that must not be. Each has its own way to go wrong, so each is computed
from the rawest source: the ledger's entries, and the calls as the clients recorded them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from atp_service.rehearse.client_oversell import promised_beyond
from atp_service.rehearse.history import FACTS, Call, History
from atp_service.rehearse.ledger_fold import (
    Figures,
    Finding,
    FoldedReservation,
    LedgerFold,
    LevelKey,
    units_of,
)
from atp_service.rehearse.ledger_reader import Projections
from atp_service.rehearse.run_names import RunNames

_EXAMPLES = 10
_TAKEN_IN = ("applied", "duplicate", "published")
# The kind of the entry that a buyer's call leaves.
_ENTRY_OF = {"hold": "hold", "change": "replace", "confirm": "confirm"}


class Figure(Struct, frozen=True):
    """A count that must be 0, and the first findings that make it up."""

    key: str
    words: str
    count: int
    examples: list[str]


class Audit(Struct, frozen=True, kw_only=True):
    """The figures; and how many entries, reservations and answers they are computed from."""

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
    history: History, ledger: LedgerFold, projections: Projections, redis: Iterable[Finding]
) -> Audit:
    """All figures; `redis` are the levels where Redis and the ledger differ."""
    beyond = promised_beyond(history).items()
    findings: dict[str, tuple[str, Iterable[Finding]]] = {
        "oversold": ("units oversold, by the ledger", _oversold(history, ledger)),
        "promised_beyond": (
            "units oversold, by the buyers' record",
            ((f"{sku}: {units} more than there were", units) for sku, units in beyond),
        ),
        "lost": ("answers that the ledger does not have", _lost(history, ledger)),
        "doubled": ("effects counted twice", _doubled(history, ledger)),
        "unaccounted": ("units unaccounted for", _unaccounted(history, ledger, projections)),
        "redis": ("levels where Redis differs from the ledger", redis),
    }
    return Audit(
        figures=[_figure(key, words, list(found)) for key, (words, found) in findings.items()],
        entries=ledger.entries,
        promises=len(ledger.reservations),
        answers=sum(call.status > 0 for call in history.calls),
    )


def _figure(key: str, words: str, found: list[Finding]) -> Figure:
    examples = [sentence for sentence, _ in found[:_EXAMPLES]]
    return Figure(key, words, sum(size for _, size in found), examples)


def differing(
    service: dict[LevelKey, Figures], ledger: dict[LevelKey, Figures]
) -> Iterator[Finding]:
    """Levels whose figures in Redis differ from the ledger's at the same version."""
    for key, ours in service.items():
        theirs = ledger.get(key)
        if theirs != ours:
            yield f"{key[0]} at {key[1]}: Redis {ours}, the ledger {theirs}", 1


def _oversold(history: History, ledger: LedgerFold) -> Iterator[Finding]:
    """Units beyond the stock of any one moment; or in all, beyond all that was received."""
    promised: Counter[str] = Counter()
    for reservation in ledger.reservations.values():
        promised.update(units_of(reservation.now))
    for sku, received in history.received.items():
        level = ledger.levels.get((sku, history.names.shop))
        units = max(level.beyond if level else 0, promised[sku] - received, 0)
        if units:
            yield f"{sku}: {received} received, {units} more promised", units


def _lost(history: History, ledger: LedgerFold) -> Iterator[Finding]:
    for call in history.calls:
        if not call.accepted:
            continue
        if call.kind in _ENTRY_OF:
            reservation = ledger.reservations.get(call.reference)
            if reservation is None:
                yield f"{call.kind} of {call.reference}: answered {call.status}, not recorded", 1
            elif missing := _missing(call, reservation):
                yield f"{call.kind} of {call.reference}: {missing}", 1
        elif call.outcome in _TAKEN_IN and not ledger.events[_event_key(call, history.names)]:
            yield f"{call.kind} {call.reference}: {call.outcome}, not recorded", 1


def _missing(call: Call, reservation: FoldedReservation) -> str:
    """What the ledger lacks of an answered promise, in words; empty if nothing."""
    now = reservation.now
    if call.kind == "change" and now.generation < call.generation:
        return f"generation {call.generation} answered, {now.generation} recorded"
    if call.kind == "confirm" and now.order_id != f"{call.reference}-order":
        return f"answered as confirmed, recorded as {now.status}"
    short = _asked(call) - _recorded(call, reservation)
    return f"{dict(short)} missing" if short else ""


def _doubled(history: History, ledger: LedgerFold) -> Iterator[Finding]:
    for (source, event_id), times in ledger.events.items():
        if times > 1:
            yield f"event {event_id} of {source} was applied {times} times", times - 1
    asked = {
        (call.reference, _ENTRY_OF[call.kind]) for call in history.calls if call.kind in _ENTRY_OF
    }
    for call in history.calls:
        if call.accepted and (reservation := ledger.reservations.get(call.reference)):
            extra = _recorded(call, reservation) - _asked(call)
            if extra:
                yield f"{call.kind} of {call.reference}: {dict(extra)} too many", extra.total()
    for reservation_id, reservation in ledger.reservations.items():
        for kind in _ENTRY_OF.values():
            # Repeats and retries are one effect, however often they were sent.
            effects = reservation.effects[kind]
            times = effects - ((reservation_id, kind) in asked)
            if times > 0:
                yield f"{kind} of {reservation_id} took effect {effects} times", times


def _recorded(call: Call, reservation: FoldedReservation) -> Counter[str]:
    """The units that the ledger has for a hold or a confirm; of other calls those asked for."""
    if call.kind == "hold":
        return reservation.first
    return units_of(reservation.now) if call.kind == "confirm" else _asked(call)


def _unaccounted(history: History, ledger: LedgerFold, projections: Projections) -> list[Finding]:
    """Steps that lose units, levels that do not add up, and tables that differ from the entries.

    Several comparisons miss the same units. The one that misses most counts; the findings of the
    others follow with 0 units.
    """
    comparisons: list[list[Finding]] = [
        ledger.faults,
        list(_differences(_expected(history, ledger), "what happened", ledger)),
        list(_differences(projections.levels, "the table of levels", ledger)),
        [
            (f"{key[0]} at {key[1]}: movements add up to {moved}, on_hand is {on_hand}", abs(off))
            for key, folded in ledger.levels.items()
            for moved, on_hand in [(projections.moved.get(key, 0), folded.level.on_hand)]
            if (off := moved - on_hand)
        ],
        [
            (f"{reservation_id}: the table of reservations has another image", 1)
            for reservation_id, reservation in ledger.reservations.items()
            if projections.reservations.get(reservation_id) != reservation.image
        ],
    ]
    comparisons.sort(key=lambda found: -sum(size for _, size in found))
    most, *others = comparisons
    return [*most, *((sentence, 0) for found in others for sentence, _ in found)]


def _differences(
    figures: dict[LevelKey, Figures], whose: str, ledger: LedgerFold
) -> Iterator[Finding]:
    for key in sorted({*figures, *ledger.levels}):
        folded, theirs = ledger.figures_of(key), figures.get(key, (0, 0, 0))
        if theirs != folded:
            words = f"{key[0]} at {key[1]}: by the entries {folded}, by {whose} {theirs}"
            yield words, sum(abs(a - b) for a, b in zip(folded, theirs, strict=True))


def _expected(history: History, ledger: LedgerFold) -> dict[LevelKey, Figures]:
    """What each level must be: by the clients' record, and by the reservations there are."""
    on_hand = _expected_on_hand(history, ledger)
    figures = {key: (units, 0, 0) for key, units in on_hand.items()}
    for reservation in ledger.reservations.values():
        for line in reservation.now.lines:
            key = (line.sku, line.location)
            units, reserved, allocated = figures.get(key, (0, 0, 0))
            figures[key] = (units, reserved + line.reserved, allocated + line.allocated)
    return figures


def _expected_on_hand(history: History, ledger: LedgerFold) -> Counter[LevelKey]:
    """Units received less units gone, by the clients' record. If no answer to a fact ever came, the
    ledger decides if it happened."""
    names = history.names
    units = Counter({(sku, names.shop): received for sku, received in history.received.items()})
    happened = {
        key: call
        for call in history.calls
        if call.kind in FACTS
        for key in (_event_key(call, names),)
        if call.outcome in _TAKEN_IN or (not call.status and ledger.events[key])
    }
    for call in happened.values():
        location = names.shop if call.kind == "shipment" else names.store
        for line in call.cart:
            sign = 1 if call.kind == "receipt" else -1
            units[line.sku, location] += sign * line.quantity
    return units


def _asked(call: Call) -> Counter[str]:
    return Counter({line.sku: line.quantity for line in call.cart})


def _event_key(call: Call, names: RunNames) -> tuple[str, str]:
    """The event's source and id."""
    return names.warehouse if call.kind == "shipment" else names.till, call.reference
