"""The service as it runs: nobody restarts anything, and it is open again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from atp_service.embedded.servers import running, socket_folder
from atp_service.embedded.valkey import Valkey
from tests.instance import Instance, instance

__all__ = ["instance"]

HOLD = {"reservation_id": "cart", "lines": [{"sku": "SKU-1", "location": "DC-1", "quantity": 2}]}
RECEIPT = {
    "specversion": "1.0",
    "id": "R-1",
    "source": "wms/dc-1",
    "type": "atp.stock.receipt.v1",
    "time": "2026-01-05T06:00:00.000Z",
    "data": {"sku": "SKU-1", "location": "DC-1", "quantity": 10},
}


def test_a_redis_restarted_on_an_empty_folder_is_rebuilt_under_everybody_s_feet(
    instance: Instance, tmp_path: Path
) -> None:
    valkey = Valkey(tmp_path, socket_folder(tmp_path))
    with running([valkey]) as (kept,):
        instance.environment["ATP_REDIS_URL"] = valkey.url
        worker = instance.start("worker")
        serving = instance.start_serving()
        http = instance.http
        assert http.post("/v1/stock-events", json=RECEIPT).json()["results"][0]["status"]
        assert http.post("/v1/reservations", json=HOLD).status_code == 201
        instance.until(lambda: instance.recorded_seq() == 2, "both are in the ledger")

        kept.stop()
        (folder,) = tmp_path.glob("valkey-*")
        shutil.rmtree(folder)
        kept.child = valkey.start()
        fenced: list[str] = []

        def open_again() -> bool:
            answer = http.post("/v1/reservations", json=HOLD)
            if answer.status_code == 503:
                assert answer.headers["retry-after"]
                fenced.append(answer.json()["type"])
                return False
            assert answer.status_code == 200, answer.text
            return True

        instance.until(open_again, "the hold is known again")
        assert "urn:atp:problem:fenced" in fenced
        (item,) = http.get("/v1/availability?sku=SKU-1").json()["items"]
        assert item["ats"] == 8
        assert (
            http.post("/v1/stock-events", json=RECEIPT).json()["results"][0]["status"]
            == "duplicate"
        )
        confirmed = http.post("/v1/reservations/cart/confirm", json={"order_id": "o-1"})
        assert confirmed.json()["outcome"] == "kept"
        instance.until(lambda: instance.recorded_seq() == 3, "it goes on in the new epoch")
        assert instance.recorded("SELECT epoch FROM positions") == [(2,)]
        assert worker.poll() is None
        assert serving.poll() is None

        report = _by_hand(instance)
        assert (report["epoch"], report["levels"], report["reservations"]) == (3, 1, 1)
        instance.until(open_again, "the reservation is known after that, too")


def _by_hand(instance: Instance) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", "rebuild", "--yes", "--json"],
        env=instance.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, object] = json.loads(done.stdout)
    return report
