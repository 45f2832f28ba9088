"""The facts of the shop during the sale. Pure: chance comes in.

Tills sell at the store, deliveries come in there, and orders are shipped from the shop's own
warehouse. Now and then a fact is reported twice, as feeds do.
"""

from collections import deque
from random import Random
from typing import Any, Literal

from msgspec import Struct

from atp_service.rehearse.calls import event, order_id
from atp_service.rehearse.journey import Cart
from atp_service.rehearse.run_names import RunNames

FactKind = Literal["sale", "receipt", "shipment"]

_DELIVERIES = 0.1
_SHIPMENTS = 0.5
_REPORTED_TWICE = 0.1


class Fact(Struct, frozen=True, kw_only=True):
    """One fact; `copies` of it are sent at once, all with the same id."""

    kind: FactKind
    source: str
    event_id: str
    sku: str
    location: str
    quantity: int
    order_id: str | None = None
    copies: int = 1

    def event(self, time: str) -> dict[str, Any]:
        """The CloudEvent that reports it."""
        data: dict[str, Any] = {
            "sku": self.sku,
            "location": self.location,
            "quantity": self.quantity,
        }
        if self.order_id is not None:
            data |= {"order_id": self.order_id, "shipment_id": self.event_id}
        return event(self.source, self.event_id, self.kind, time, data)


class Operations:
    """Facts without end; `name` keeps the event ids of several generators apart."""

    def __init__(self, names: RunNames, chance: Random, name: str = "1") -> None:
        self._names = names
        self._chance = chance
        self._name = name
        self._number = 0
        self._to_ship: deque[tuple[str, str, int]] = deque()

    def ship(self, reservation_id: str, cart: Cart) -> None:
        """Ship a confirmed order later, line by line."""
        for line in cart:
            self._to_ship.append((order_id(reservation_id), line.sku, line.quantity))

    def next(self) -> Fact:
        """The next fact: a shipment, a delivery or a till's sale."""
        names, chance = self._names, self._chance
        self._number += 1
        number = f"{self._name}-{self._number}"
        copies = 2 if chance.random() < _REPORTED_TWICE else 1
        if self._to_ship and chance.random() < _SHIPMENTS:
            order, sku, quantity = self._to_ship.popleft()
            return Fact(
                kind="shipment",
                source=names.warehouse,
                event_id=f"shipment-{number}",
                sku=sku,
                location=names.shop,
                quantity=quantity,
                order_id=order,
                copies=copies,
            )
        delivery = chance.random() < _DELIVERIES
        return Fact(
            kind="receipt" if delivery else "sale",
            source=names.till,
            event_id=f"till-{number}",
            sku=chance.choice(names.everyday),
            location=names.store,
            quantity=chance.randint(5, 20) if delivery else chance.randint(1, 3),
            copies=copies,
        )
