"""The facts of the shop during the sale. Pure: chance comes in.

Tills sell at the store, deliveries come in there, and orders are shipped from the shop's own
warehouse. Now and then a fact is reported twice, as feeds do.
"""

from collections import deque
from datetime import datetime
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


class Fact(Struct, frozen=True):
    """One fact; `copies` of it are sent at once, all with the same id."""

    kind: FactKind
    source: str
    event_id: str
    sku: str
    location: str
    quantity: int
    copies: int
    order_id: str | None = None

    def event(self, time: datetime) -> dict[str, Any]:
        """The CloudEvent that reports it."""
        data = {"sku": self.sku, "location": self.location, "quantity": self.quantity}
        order = {"order_id": self.order_id, "shipment_id": self.event_id} if self.order_id else {}
        return event(self.source, self.event_id, self.kind, time, data | order)


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
            order, sku, units = self._to_ship.popleft()
            shipment = f"shipment-{number}"
            shop, feed = names.shop, names.warehouse
            return Fact("shipment", feed, shipment, sku, shop, units, copies, order)
        kind: FactKind = "receipt" if chance.random() < _DELIVERIES else "sale"
        sku = chance.choice(names.everyday)
        units = chance.randint(5, 20) if kind == "receipt" else chance.randint(1, 3)
        return Fact(kind, names.till, f"till-{number}", sku, names.store, units, copies)
