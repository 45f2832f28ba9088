"""What the rows sell: SKUs with plenty of stock at one location, and carts for them."""

import json
from collections.abc import Sequence
from itertools import count
from urllib.request import Request, urlopen

from loadtests.bench.wire import post

LOCATION = "DC-1"
PLENTY = 100_000_000
_EVENTS_AT_ONCE = 1_000
_cart = count(1)


def sku(number: int) -> str:
    return f"SKU-{number:06d}"


def stock(port: int, skus: int, locations: Sequence[str] = (LOCATION,)) -> None:
    """Receive plenty of each SKU at each location, over HTTP: the API knows them then."""
    receipts = [receipt(number, place) for place in locations for number in range(skus)]
    for first in range(0, len(receipts), _EVENTS_AT_ONCE):
        events = receipts[first : first + _EVENTS_AT_ONCE]
        request = Request(
            f"http://127.0.0.1:{port}/v1/stock-events",
            data=json.dumps(events).encode(),
            headers={"content-type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:
            statuses = {result["status"] for result in json.load(answer)["results"]}
        if statuses != {"applied"}:
            raise RuntimeError(f"stock was not received: {statuses}")


def receipt(number: int, location: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"receipt-{number}-{location}",
        "source": "wms/dc-1",
        "type": "atp.stock.receipt.v1",
        "time": "2026-01-05T06:00:00.000Z",
        "data": {"sku": sku(number), "location": location, "quantity": PLENTY},
    }


def carts(
    requests: int, skus: int, *, lines: int = 1, durability: str | None = None
) -> list[bytes]:
    """Holds of one unit a line, over so many SKUs in turn, ready to send; no id comes twice."""
    wanted = {} if durability is None else {"durability": durability}
    return [
        post(
            "/v1/reservations",
            json.dumps(
                wanted
                | {
                    "reservation_id": f"cart-{next(_cart):08d}",
                    "lines": [
                        {
                            "sku": sku((number * lines + place) % skus),
                            "location": LOCATION,
                            "quantity": 1,
                        }
                        for place in range(lines)
                    ],
                }
            ).encode(),
        )
        for number in range(requests)
    ]
