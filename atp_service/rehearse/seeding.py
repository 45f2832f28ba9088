"""The run's master data and stock, put there over HTTP as any customer would."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx2

from atp_service.rehearse import CannotRehearse
from atp_service.rehearse.calls import encode, event
from atp_service.rehearse.history import Call
from atp_service.rehearse.journey import CartLine
from atp_service.rehearse.run_names import RunNames
from atp_service.rehearse.scenario import Scenario

_EVENTS_AT_ONCE = 500
_PATIENCE_SECONDS = 30.0
_RETRY_SECONDS = 0.3
_JSON = {"content-type": "application/json"}


def seed(http: httpx2.Client, scenario: Scenario, names: RunNames, now: datetime) -> dict[str, int]:
    """Create the master data and receive the stock; the shop's units by SKU.

    Raises CannotRehearse if the service refuses them.
    """
    for path, document in (
        (f"channels/{names.channel}", {"name": "a rehearsal's web shop"}),
        (f"locations/{names.shop}", {"name": "a rehearsal's warehouse", "kind": "dc"}),
        (f"locations/{names.store}", {"name": "a rehearsal's store", "kind": "store"}),
        (f"feeds/{names.warehouse}", {"kind": "wms", "locations": [names.shop]}),
        (f"feeds/{names.till}", {"kind": "pos", "locations": [names.store]}),
        *((f"skus/{sku}", {"name": "on sale in a rehearsal"}) for sku in names.skus),
    ):
        request(http, "PUT", f"/v1/{path}", document)
    units = dict.fromkeys(names.sale, scenario.sale.units)
    units |= dict.fromkeys(names.everyday, scenario.everyday.units)
    goods = [{"sku": sku, "location": names.shop, "quantity": units[sku]} for sku in units]
    receipts = [
        event(names.warehouse, f"delivery-{data['sku']}", "receipt", now, data) for data in goods
    ]
    for first in range(0, len(receipts), _EVENTS_AT_ONCE):
        _receive(http, receipts[first : first + _EVENTS_AT_ONCE])
    return units


def mark(http: httpx2.Client, names: RunNames, now: datetime) -> Call:
    """One more fact, applied after all others: once the ledger has it, it has all before it."""
    cart = (CartLine(names.everyday[0], 1),)
    call = Call(kind="receipt", reference="mark", cart=cart, status=200, outcome="applied")
    data = {"sku": names.everyday[0], "location": names.store, "quantity": 1}
    _receive(http, [event(names.till, call.reference, call.kind, now, data)])
    return call


def request(http: httpx2.Client, method: str, path: str, body: object) -> httpx2.Response:
    """The 2xx response, retried while the service is away. Raises CannotRehearse."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        later = True
        try:
            response = http.request(method, path, content=encode(body), headers=_JSON)
        except httpx2.TransportError as fault:
            reason = str(fault) or type(fault).__name__
        else:
            if response.is_success:
                return response
            reason = f"{response.status_code} {response.text[:300]}"
            later = response.status_code == 429 or response.is_server_error
        if not later or time.monotonic() > deadline:
            raise CannotRehearse(f"{method} {path}: {reason}")
        time.sleep(_RETRY_SECONDS)


def _receive(http: httpx2.Client, events: Sequence[dict[str, Any]]) -> None:
    response = request(http, "POST", "/v1/stock-events", list(events))
    statuses = {result["status"] for result in response.json()["results"]}
    if not statuses <= {"applied", "duplicate"}:
        raise CannotRehearse(f"the service did not apply the stock: {', '.join(statuses)}")
