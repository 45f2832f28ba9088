"""Commands as tests need them: new ones of now, unless the test says otherwise."""

from itertools import count
from typing import Any, TypeVar

from atp_service.inventory.commands import Confirm, Fact, Hold, HoldLine, Receipt, Sale, fingerprint
from tests.retailer import DC, now_ms

AFact = TypeVar("AFact", bound=Fact)
_numbers = count(1)


def fact(kind: type[AFact], **fields: Any) -> AFact:
    """A fact of the kind, with an id of its own."""
    own: dict[str, Any] = {"source": "wms/dc-1", "event_id": f"event-{next(_numbers)}"}
    return kind(**own | {"occurred_at_ms": now_ms()} | fields)


def receipt(sku: str, quantity: int, location: str = DC, **fields: Any) -> Receipt:
    return fact(Receipt, sku=sku, location=location, quantity=quantity, **fields)


def sale(sku: str, quantity: int = 1, location: str = DC, **fields: Any) -> Sale:
    return fact(Sale, sku=sku, location=location, quantity=quantity, **fields)


def lines_of(*skus: str, quantity: int = 1, location: str = DC) -> list[HoldLine]:
    """A cart's lines: so many of each SKU."""
    return [
        HoldLine(line_id=str(place), sku=sku, location=location, quantity=quantity)
        for place, sku in enumerate(skus, 1)
    ]


def hold(
    cart: str, *skus: str, quantity: int = 1, location: str = DC, ttl_ms: int = 900_000
) -> Hold:
    lines = lines_of(*skus, quantity=quantity, location=location)
    return Hold(reservation_id=cart, lines=lines, fingerprint=fingerprint(lines), ttl_ms=ttl_ms)


def confirm(cart: str, order_id: str) -> Confirm:
    return Confirm(reservation_id=cart, order_id=order_id)


def order(cart: str, sku: str, quantity: int = 1) -> tuple[Hold, Confirm]:
    """A hold and its confirm."""
    return hold(cart, sku, quantity=quantity), confirm(cart, f"order-of-{cart}")
