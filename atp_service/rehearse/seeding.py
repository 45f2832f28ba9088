"""The run's master data and stock, put there as any customer would: over HTTP."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx2

from atp_service.rehearse.calls import event
from atp_service.rehearse.errors import CannotRehearse
from atp_service.rehearse.run_names import Goods
from atp_service.rehearse.scenario import Scenario

_EVENTS_AT_ONCE = 500
_PATIENCE_SECONDS = 30.0
_AGAIN_SECONDS = 0.3


def seed(http: httpx2.Client, scenario: Scenario, goods: Goods, now: datetime) -> dict[str, int]:
    """Describe the goods and receive them; the units per SKU that the shop was told it has.

    Raises CannotRehearse where the service won't have them.
    """
    _put(http, f"/v1/channels/{goods.channel}", {"name": "a rehearsal's web shop"})
    _put(http, f"/v1/locations/{goods.shop}", {"name": "a rehearsal's warehouse", "kind": "dc"})
    _put(http, f"/v1/locations/{goods.store}", {"name": "a rehearsal's store", "kind": "store"})
    for feed, kind, location in (
        (goods.warehouse, "wms", goods.shop),
        (goods.till, "pos", goods.store),
    ):
        _put(http, f"/v1/feeds/{feed}", {"kind": kind, "locations": [location]})
    for sku in goods.skus:
        _put(http, f"/v1/skus/{sku}", {"name": "on sale in a rehearsal"})
    units = dict.fromkeys(goods.sale, scenario.sale.units)
    units |= dict.fromkeys(goods.everyday, scenario.everyday.units)
    written = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    receipts = [
        event(
            goods.warehouse,
            f"delivery-{sku}",
            "receipt",
            written,
            {"sku": sku, "location": goods.shop, "quantity": quantity},
        )
        for sku, quantity in units.items()
    ]
    for first in range(0, len(receipts), _EVENTS_AT_ONCE):
        _receive(http, receipts[first : first + _EVENTS_AT_ONCE])
    return units


def mark(http: httpx2.Client, goods: Goods, number: int, now: datetime) -> tuple[str, str]:
    """One more fact, whose entry in the ledger says that all before it are there too; its key."""
    written = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = {"sku": goods.everyday[0], "location": goods.store, "quantity": 1}
    key = (goods.till, f"mark-{number}")
    _receive(http, [event(*key, "receipt", written, data)])
    return key


def _receive(http: httpx2.Client, events: Sequence[dict[str, Any]]) -> None:
    answer = called(http, "POST", "/v1/stock-events", list(events))
    statuses = {result["status"] for result in answer.json()["results"]}
    if not statuses <= {"applied", "duplicate"}:
        raise CannotRehearse(f"the service did not take the stock in: {', '.join(statuses)}")


def _put(http: httpx2.Client, path: str, body: dict[str, Any]) -> None:
    called(http, "PUT", path, body)


def called(http: httpx2.Client, method: str, path: str, body: object) -> httpx2.Response:
    """A good answer, asked for again while the service says it can't now. Raises CannotRehearse."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        said, later = "", True
        try:
            answer = http.request(method, path, json=body)
        except httpx2.TransportError as fault:
            said = str(fault) or type(fault).__name__
        else:
            if answer.is_success:
                return answer
            said = f"{answer.status_code} {answer.text[:300]}"
            later = answer.status_code == 429 or answer.is_server_error
        if not later or time.monotonic() > deadline:
            raise CannotRehearse(f"{method} {path}: {said}")
        time.sleep(_AGAIN_SECONDS)
