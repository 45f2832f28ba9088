"""A buyer's visit, click by click. Pure: chance and the status of each answer come in.

The rehearsal's generator and Locust both play it.
"""

from collections.abc import Generator
from random import Random
from typing import Literal

from msgspec import Struct

from atp_service.rehearse.run_names import RunNames
from atp_service.rehearse.scenario import Scenario

Click = Literal["browse", "hold", "change", "confirm"]
_INTENTS = ("browse", "walk_away", "confirm", "change", "repeat")


class CartLine(Struct, frozen=True, array_like=True):
    """Units of one SKU in a cart."""

    sku: str
    quantity: int


Cart = tuple[CartLine, ...]


class Ask(Struct, frozen=True):
    """One click, after thinking; `copies` of it are sent at once, all with the same id."""

    click: Click
    reservation_id: str
    cart: Cart
    think_seconds: float
    copies: int = 1


Journey = Generator[Ask, int, None]


def journey(
    scenario: Scenario, names: RunNames, reservation_id: str, sale: float, chance: Random
) -> Journey:
    """A visit: yields clicks, and is sent the best status of each (0: no answer came).

    A page is older than the click on it: a buyer tries to hold, whatever the page showed.
    """
    mix = scenario.mix
    weights = (mix.browse, mix.walk_away, mix.confirm, mix.change, mix.repeat)
    (intent,) = chance.choices(_INTENTS, weights)
    on_sale = chance.random() < sale
    copies = 2 if intent == "repeat" else 1
    cart = _cart(scenario, names, on_sale, chance)

    def ask(click: Click) -> Ask:
        think_seconds = 0.0 if click == "browse" else chance.uniform(*scenario.buyer.think_seconds)
        many = copies if click in ("hold", "confirm") else 1
        return Ask(click, reservation_id, cart, think_seconds, many)

    yield ask("browse")
    if intent == "browse":
        return
    if not _is_good((yield ask("hold"))) or intent == "walk_away":
        return
    if intent == "change":
        before = cart
        cart = _changed(cart, names, chance)
        status = yield ask("change")
        if not _is_good(status):
            cart = before  # refused: the cart is held as it was
    yield ask("confirm")


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _cart(scenario: Scenario, names: RunNames, on_sale: bool, chance: Random) -> Cart:
    shelf = names.sale if on_sale else names.everyday
    quantity = 2 if chance.random() < scenario.buyer.two_units else 1
    line = CartLine(chance.choice(shelf), quantity)
    if chance.random() >= scenario.buyer.second_line:
        return (line,)
    beside = chance.choice(names.everyday)
    return (line,) if beside == line.sku else (line, CartLine(beside, 1))


def _changed(cart: Cart, names: RunNames, chance: Random) -> Cart:
    """Another number of units, or another SKU of the same shelf."""
    first, *others = cart
    shelf = names.sale if first.sku in names.sale else names.everyday
    another = [sku for sku in shelf if all(sku != line.sku for line in cart)]
    if not another or chance.random() < 0.5:
        return (CartLine(first.sku, 3 - first.quantity), *others)
    return (CartLine(chance.choice(another), first.quantity), *others)
