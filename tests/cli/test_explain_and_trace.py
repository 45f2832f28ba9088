"""`atp explain` and `atp trace`: what the API says, as tables or as JSON, and why it doesn't."""

import json
import subprocess
import sys
from typing import Any

from tests.instance import Instance


def printed(instance: Instance, *words: str, code: int = 0, columns: int = 200) -> str:
    """What a command says that ends with `code`; on the other stream it says nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", *words],
        env=instance.environment | {"COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not (done.stderr if code == 0 else done.stdout)
    return done.stdout if code == 0 else done.stderr


def test_a_shop_asks_why_and_what_became_of_an_order(instance: Instance) -> None:
    instance.start("worker", "--only", "record")
    instance.start_serving()
    receipt = {
        "specversion": "1.0",
        "id": "delivery-1",
        "source": "wms/dc-1",
        "type": "atp.stock.receipt.v1",
        "time": "2026-11-23T10:00:00Z",
        "data": {"sku": "SKU [1]", "location": "DC-1", "quantity": 1_200},
    }
    instance.http.post("/v1/stock-events", json=receipt).raise_for_status()
    line = {"sku": "SKU [1]", "location": "DC-1", "quantity": 2}
    held = {"reservation_id": "shop/eu/cart-1", "channel": "web", "lines": [line]}
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    instance.http.post("/v1/reservations", json=held, headers=trace).raise_for_status()

    number = ("explain", "SKU [1]", "DC-1", "--channel", "web")
    query = {"sku": "SKU [1]", "location": "DC-1", "channel": "web"}
    answer: dict[str, Any] = instance.http.get("/v1/explain", params=query).json()
    same = json.loads(printed(instance, *number, "--json"))
    assert (
        (same["ats"], same["terms"]) == (answer["ats"], answer["terms"]) == (1_198, same["terms"])
    )
    table = printed(instance, *number)
    for shown in (
        "SKU [1] at DC-1 on web",
        "1,198",
        "receipt of 2026-11-23T10:00:00.000Z wms/dc-1 delivery-1",
        "shop/eu/cart-1",
    ):
        assert shown in table
    before = printed(instance, *number, "--at", answer["terms"][0]["entries"][0]["at"], "--json")
    assert json.loads(before)["ats"] == 1_200

    story = json.loads(printed(instance, "trace", "shop/eu/cart-1", "--json"))
    assert [entry["kind"] for entry in story["entries"]] == ["hold"]
    table = printed(instance, "trace", "shop/eu/cart-1")
    assert "shop/eu/cart-1: reservation" in table
    assert "reserved 2" in table
    # Also where the terminal is narrow, the time is shown whole.
    narrow = printed(instance, "trace", "shop/eu/cart-1", columns=60)
    assert story["entries"][0]["at"] in narrow

    assert "nothing of who-knows" in printed(instance, "trace", "who-knows", code=1)
    assert "no sku NOPE" in printed(instance, "explain", "NOPE", "DC-1", code=1)
    assert "--at: the ledger reaches from" in printed(
        instance, *number, "--at", "2020-01-01T00:00:00Z", code=2
    )
    nowhere = printed(instance, "trace", "cart-1", "--api", "http://127.0.0.1:1", code=2)
    assert "No API answers at http://127.0.0.1:1" in nowhere
    assert "--api" in nowhere
