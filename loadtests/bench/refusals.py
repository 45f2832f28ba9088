"""A sold-out SKU: how fast the many who come too late are told so."""

import json
from itertools import count
from urllib.request import Request, urlopen

from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import alternating, answers, instance, until
from loadtests.bench.wire import drive, free_port, post

TARGET = 1.2
_EMPTY = post("/empty", b"{}")
_cart = count(1)


def measure(*, quick: bool) -> Result:
    """Holds of new carts on a SKU with no unit left, against the empty Litestar handler."""
    rounds, requests = (2, 4_000) if quick else (8, 20_000)
    rates: dict[str, list[float]] = {"refused": [], "empty": []}
    with instance() as here:
        port, empty_port = free_port(), free_port()
        serving = here.serve(port)
        shop.stock(port, 1)
        _sell_out(port)
        empty = here.start("empty", "loadtests.bench.empty", port=empty_port)
        until(lambda: answers(empty_port), empty)

        def refused(number: int) -> None:
            load = drive(port, serving.pid, [_hold(1) for _ in range(requests)], status=409)
            if number >= 0:
                rates["refused"].append(load.rate)

        def nothing(number: int) -> None:
            load = drive(empty_port, empty.pid, [_EMPTY] * requests)
            if number >= 0:
                rates["empty"].append(load.rate)

        alternating(rounds, refused, nothing)
    return Result(
        checks=[
            Check(
                what="refusals/s of a sold-out SKU / empty Litestar requests/s",
                figures=ratios(rates["refused"], rates["empty"]),
                target=TARGET,
                at_most=False,
            )
        ],
        notes=[f"refused {around(rates['refused'], '/s')}, empty {around(rates['empty'], '/s')}"],
    )


def _hold(quantity: int) -> bytes:
    return post("/v1/reservations", _document(quantity))


def _document(quantity: int) -> bytes:
    line = {"sku": shop.sku(0), "location": shop.LOCATION, "quantity": quantity}
    return json.dumps({"reservation_id": f"late-{next(_cart):08d}", "lines": [line]}).encode()


def _sell_out(port: int) -> None:
    request = Request(
        f"http://127.0.0.1:{port}/v1/reservations",
        data=_document(shop.PLENTY),
        headers={"content-type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        if answer.status != 201:
            raise RuntimeError(f"could not be sold out: {answer.status}")
