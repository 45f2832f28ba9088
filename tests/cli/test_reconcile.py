"""`atp reconcile` tells by its exit code whether anything differed, with a worker or without."""

import json
import subprocess
import sys
from typing import Any

from redis import Redis

from atp_service.store.keys import keys_of
from tests.instance import Instance, instance
from tests.workers.reconcile.trade import level_name

__all__ = ["instance"]

RECEIPT = {
    "specversion": "1.0",
    "id": "receipt-1",
    "source": "wms/dc-1",
    "type": "atp.stock.receipt.v1",
    "time": "2026-01-05T06:00:00.000Z",
    "data": {"sku": "SKU-1", "location": "DC-1", "quantity": 5},
}


def reconciled(instance: Instance, *options: str) -> tuple[int, str]:
    """The command's exit code, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", "reconcile", *options],
        env=instance.environment,
        cwd=instance.log.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_who_reconciles_is_told_what_differed(instance: Instance) -> None:
    instance.start_serving()
    recording = instance.start("worker", "--only", "record")
    assert instance.http.post("/v1/stock-events", json=RECEIPT).status_code == 200
    instance.until(lambda: instance.recorded_seq() == 1, "the receipt is recorded")

    code, told = reconciled(instance, "--json")  # there is no worker for it
    run: dict[str, Any] = json.loads(told)
    assert (code, run["status"], run["report"]["compared"]["levels"]) == (0, "done", 1)
    # A script reads it as it reads the API.
    assert instance.http.get(f"/v1/reconciliations/{run['id']}").json() == run
    code, told = reconciled(instance)
    assert (code, len(told.splitlines())) == (0, 1)
    assert told.startswith("Nothing differs: 1 levels")

    for unknown in ("--sku", "--location"):
        code, told = reconciled(instance, unknown, "NOPE")
        assert (code, "not known: NOPE" in told) == (2, True), told

    with Redis.from_url(instance.environment["ATP_REDIS_URL"]) as redis:
        redis.hdel(keys_of(0).stock, level_name("SKU-1"))
    code, told = reconciled(instance, "--no-repair", "--sku", "SKU-1")
    assert (code, "SKU-1 at DC-1" in told) == (1, True)
    assert "nothing was there; right is" in told  # the rest may be on the next line

    instance.start("worker", "--only", "reconcile")
    code, told = reconciled(instance, "--json")
    assert (code, json.loads(told)["report"]["repaired"]) == (1, 1)
    assert reconciled(instance, "--location", "DC-1")[0] == 0

    assert recording.poll() is None
    instance.environment["ATP_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    code, told = reconciled(instance)
    assert code == 2, told
