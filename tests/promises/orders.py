"""Whether answers fit some order of the calls and of what happened to the shop meanwhile.

A call reads the policy while it runs, and the script decides on it in one step. So each call sees
for each name some state that held between its start and its end; reservations and stock follow one
order of all calls, in which a call that ended before another began comes first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Answer = str
Wanted = tuple[tuple[str, str, int], ...]  # SKU, location, units; each place once


class Call(NamedTuple):
    """A call: what was asked of which cart, from when to when, and the answer."""

    kind: Literal["hold", "replace", "confirm", "release", "lapse"]
    cart: str
    wanted: Wanted
    start: int
    end: int
    answer: Answer


class Change(NamedTuple):
    """A SKU or location is on sale or not from some moment between start and end."""

    name: str
    on_sale: bool
    start: int
    end: int


@dataclass(frozen=True)
class Cart:
    status: Literal["held", "confirmed", "expired", "released"]
    wanted: Wanted
    ordered: bool = False


State = tuple[tuple[tuple[tuple[str, str], int], ...], tuple[tuple[str, Cart], ...]]


def fits(
    calls: Sequence[Call], changes: Sequence[Change], stock: Mapping[tuple[str, str], int]
) -> bool:
    """Whether there is such an order; `stock` are the units that can be sold at first."""
    seen: set[tuple[frozenset[int], State]] = set()
    begun: State = (tuple(sorted(stock.items())), ())

    def search(left: frozenset[int], state: State) -> bool:
        if not left:
            return True
        if (left, state) in seen:
            return False
        seen.add((left, state))
        first_end = min(calls[i].end for i in left)
        return any(
            search(left - {i}, after)
            for i in left
            if calls[i].start <= first_end
            for after in _after(calls[i], changes, state)
        )

    return search(frozenset(range(len(calls))), begun)


def _after(call: Call, changes: Sequence[Change], state: State) -> Iterator[State]:
    """The states that the call may leave, if its answer is right in the given one."""
    units, carts = dict(state[0]), dict(state[1])
    known = carts.get(call.cart)

    def take(wanted: Wanted) -> None:
        for sku, location, quantity in wanted:
            units[sku, location] -= quantity

    def give_back(wanted: Wanted) -> None:
        for sku, location, quantity in wanted:
            units[sku, location] += quantity

    answers: set[Answer] = set()
    match call.kind:
        case "lapse":
            for name, cart in carts.items():
                if cart.status == "held":
                    give_back(cart.wanted)
                    carts[name] = Cart("expired", cart.wanted)
            answers = {"done"}
        case "release":
            if known is None:
                answers = {"NotFound"}
            elif known.status == "released":
                answers = {"Repeated"}
            else:
                answers = {"Changed"}
                if known.status != "expired":
                    give_back(known.wanted)
                carts[call.cart] = Cart("released", known.wanted, known.ordered)
        case "confirm":
            if known is None:
                answers = {"NotFound"}
            elif known.ordered:
                answers = {"Repeated"}
            elif known.status == "released":
                answers = {"WrongStatus"}
            elif known.status == "held":
                answers = {"Confirmed"}
                carts[call.cart] = Cart("confirmed", known.wanted, True)
            else:
                answers = {"lost: closed"} & _policies(call, known.wanted, changes)
                if "on sale" in _policies(call, known.wanted, changes):
                    if _has(units, known.wanted):
                        if call.answer == "Confirmed":
                            take(known.wanted)
                            carts[call.cart] = Cart("confirmed", known.wanted, True)
                        answers |= {"Confirmed"}
                    else:
                        answers |= {"lost"}
        case "hold" | "replace":
            if call.kind == "replace" and known is None:
                answers = {"NotFound"}
            elif known is not None and _is_repeat(call, known):
                answers = {"Repeated"}
            elif call.kind == "replace" and known and known.status in ("confirmed", "released"):
                answers = {"WrongStatus"}
            else:
                policies = _policies(call, call.wanted, changes)
                answers = policies & {"unknown"}
                if call.kind == "hold" and known is not None:
                    answers |= {"ReservationIdReused"} if policies - {"unknown"} else set()
                else:
                    answers |= policies & {"closed"}
                    own = known.wanted if known and known.status == "held" else ()
                    give_back(own)
                    if "on sale" in policies:
                        enough = _has(units, call.wanted)
                        answers |= {"Held" if enough else "InsufficientStock"}
                    if call.answer == "Held" and "Held" in answers:
                        take(call.wanted)
                        carts[call.cart] = Cart("held", call.wanted)
                    else:
                        take(own)
    if call.answer in answers:
        yield tuple(sorted(units.items())), tuple(sorted(carts.items(), key=lambda one: one[0]))


def _is_repeat(call: Call, known: Cart) -> bool:
    if call.wanted != known.wanted:
        return False
    return call.kind == "hold" or known.status in ("held", "confirmed")


def _has(units: Mapping[tuple[str, str], int], wanted: Wanted) -> bool:
    return all(units[sku, location] >= quantity for sku, location, quantity in wanted)


def _policies(call: Call, wanted: Wanted, changes: Sequence[Change]) -> set[str]:
    """The policies that the lines may have had while the call ran; of a late confirm, that a SKU
    is not known does not refuse it."""
    skus = [_seen(sku, call, changes) for sku, _, _ in wanted]
    places = [_seen(location, call, changes) for _, location, _ in wanted]
    found = set()
    if any(False in one for one in skus):
        found.add("unknown")
    if call.kind == "confirm" or all(True in one for one in skus):
        if any(False in one for one in places):
            found |= {"closed", "lost: closed"}
        if all(True in one for one in places):
            found.add("on sale")
    return found


def _seen(name: str, call: Call, changes: Sequence[Change]) -> set[bool]:
    """Whether the name was on sale, at any moment between the call's start and its end."""
    states = {True}
    for change in (change for change in changes if change.name == name):
        if change.start > call.end:
            break
        if change.end < call.start:
            states = {change.on_sale}
        else:
            states.add(change.on_sale)
    return states
