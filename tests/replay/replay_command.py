"""The command `atp replay`, and the stock it leaves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.instance import ROOT, Instance

EXAMPLE = ROOT / "examples" / "online-retail.toml"


def words(file: Path, mapping: Path = EXAMPLE) -> list[str]:
    return ["replay", str(file), "--map", str(mapping)]


def replay(instance: Instance, file: Path, *, code: int = 0) -> dict[str, Any]:
    return summary_of(instance, *words(file), code=code)


def summary_of(instance: Instance, *command: str, code: int = 0) -> dict[str, Any]:
    """The summary that the command prints with `--json`: on standard output nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", *command, "--json"],
        env=instance.environment,
        cwd=instance.log.parent,
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == code, done.stderr.decode() + instance.log.read_text()
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def recorded_on_hand(instance: Instance) -> dict[str, int]:
    """on_hand at UK-DC by SKU, as the ledger has it."""
    return dict(instance.recorded("SELECT sku, on_hand FROM levels WHERE location = 'UK-DC'"))


def served_on_hand(instance: Instance, skus: list[str]) -> dict[str, int]:
    """on_hand at UK-DC by SKU, as `GET /v1/availability` says; ATS and shortage must fit it."""
    found = {}
    for at in range(0, len(skus), 100):
        asked = httpx2.QueryParams([("location", "UK-DC"), *(("sku", s) for s in skus[at:][:100])])
        answer = instance.http.get("/v1/availability", params=asked)
        assert answer.status_code == 200, answer.text
        for item in answer.json()["items"]:
            (level,) = item["locations"]
            found[item["sku"]] = level["on_hand"]
            assert item["ats"] == max(0, level["on_hand"])
            assert item["shortage"] == max(0, -level["on_hand"])
    return found
