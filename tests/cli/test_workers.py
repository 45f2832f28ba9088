"""Several API processes on one port are one service to whoever calls it."""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.instance import Instance

UNITS = 10
BUYERS = 200


def _workers(parent: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def _receipt(units: int) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": "receipt-1",
        "source": "wms/dc-1",
        "type": "atp.stock.receipt.v1",
        "time": "2026-01-05T06:00:00.000Z",
        "data": {"sku": "LAST", "location": "DC-1", "quantity": units},
    }


def test_workers_share_the_port_the_units_and_what_they_count(
    instance: Instance, tmp_path: Path
) -> None:
    folders = tmp_path / "folders"
    folders.mkdir()
    instance.environment["TMPDIR"] = str(folders)
    parent = instance.start("serve", "--workers", "2")
    instance.until(lambda: any("workers" in line for line in _told(instance, "serving")), "served")
    # Who reads that it serves can call it: each of them has said so before.
    assert ["workers" in line for line in _told(instance, "serving")] == [False, False, True]
    assert _answers(instance)
    assert len(_workers(parent)) == 2
    instance.http.post("/v1/stock-events", json=_receipt(UNITS)).raise_for_status()

    def buy(number: int) -> int:
        # A connection of its own each: the kernel spreads connections, not requests.
        hold = {
            "reservation_id": f"cart-{number}",
            "lines": [{"line_id": "1", "sku": "LAST", "location": "DC-1", "quantity": 1}],
        }
        answer = httpx2.post(f"{instance.http.base_url}/v1/reservations", json=hold, timeout=30)
        return answer.status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(buy, range(BUYERS)))
    assert statuses.count(201) == UNITS
    assert statuses.count(409) == BUYERS - UNITS

    assert _counted(instance, 201) == UNITS
    assert _counted(instance, 409) == BUYERS - UNITS

    # One is killed: the other goes on, and a new one joins it.
    victim = _workers(parent)[0]
    os.kill(victim, signal.SIGKILL)
    instance.until(lambda: _answers(instance), "the API still answers")
    instance.until(
        lambda: victim not in _workers(parent) and len(_workers(parent)) == 2, "it is replaced"
    )
    assert _counted(instance, 201) == UNITS
    (ended,) = _told(instance, "child_ended")
    assert (ended["exit_code"], "log" in ended) == (-signal.SIGKILL, False)

    # All are killed at once, and nobody has tidied up: the next ones do.
    (left,) = folders.iterdir()
    parent.kill()
    parent.wait(30)
    (folders / "somebody-else-s").mkdir()
    parent = instance.start("serve", "--workers", "2")
    instance.until(
        lambda: sum("workers" in line for line in _told(instance, "serving")) == 2, "served again"
    )
    assert not left.exists()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert [folder.name for folder in folders.iterdir()] == ["somebody-else-s"]


def _told(instance: Instance, event: str) -> list[dict[str, Any]]:
    """The log's lines about it, of parent and children."""
    lines = [json.loads(line) for line in instance.log.read_text().splitlines() if line[:1] == "{"]
    return [line for line in lines if line["event"] == event]


def _counted(instance: Instance, status: int) -> int:
    """Holds answered so, by the metrics of whichever process is asked."""
    text = httpx2.get(f"{instance.http.base_url}/metrics", timeout=30).text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("atp_http_request_seconds_count")
        and 'route="/v1/reservations"' in line
        and f'status="{status}"' in line
    )


def _answers(instance: Instance) -> bool:
    try:
        return httpx2.get(f"{instance.http.base_url}/health/ready", timeout=30).is_success
    except httpx2.TransportError:
        return False
