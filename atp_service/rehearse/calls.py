"""A buyer's clicks and the operations' facts, as HTTP requests."""

from datetime import datetime
from typing import Any

import msgspec

from atp_service.rehearse.journey import Ask, Cart
from atp_service.rehearse.run_names import RunNames

encode = msgspec.json.Encoder().encode


class Request(msgspec.Struct, frozen=True):
    """A request with a JSON body; `route` names the call without ids."""

    method: str
    path: str
    body: bytes
    route: str


def click_request(ask: Ask, names: RunNames, hold_seconds: int) -> Request:
    """The call for a click."""
    reservation = f"/v1/reservations/{ask.reservation_id}"
    match ask.click:
        case "browse":
            asked = {
                "skus": [line.sku for line in ask.cart],
                "locations": [names.shop],
                "channel": names.channel,
            }
            return Request("POST", "/v1/availability", encode(asked), "availability")
        case "hold":
            held = {
                "reservation_id": ask.reservation_id,
                "channel": names.channel,
                "ttl_seconds": hold_seconds,
                "lines": _lines(ask.cart, names),
            }
            return Request("POST", "/v1/reservations", encode(held), "hold")
        case "change":
            changed = {"ttl_seconds": hold_seconds, "lines": _lines(ask.cart, names)}
            return Request("PUT", reservation, encode(changed), "change")
        case "confirm":
            order = {"order_id": order_id(ask.reservation_id)}
            return Request("POST", f"{reservation}/confirm", encode(order), "confirm")


def order_id(reservation_id: str) -> str:
    """The id of the order that a reservation is confirmed for."""
    return f"{reservation_id}-order"


def event(
    source: str, event_id: str, kind: str, time: datetime, data: dict[str, Any]
) -> dict[str, Any]:
    """A canonical event: a CloudEvent of the type `atp.stock.<kind>.v1`."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"atp.stock.{kind}.v1",
        "time": time,
        "data": data,
    }


def fact_request(events: list[dict[str, Any]]) -> Request:
    """The call that reports canonical events."""
    return Request("POST", "/v1/stock-events", encode(events), "facts")


def _lines(cart: Cart, names: RunNames) -> list[dict[str, Any]]:
    return [
        {"line_id": str(place), "sku": line.sku, "location": names.shop, "quantity": line.quantity}
        for place, line in enumerate(cart, 1)
    ]
