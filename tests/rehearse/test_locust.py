"""The load test in Locust, headless, for a few seconds on a real service."""

import csv
import subprocess
import sys
from pathlib import Path

from tests.embedded.atp_up import Up, environment
from tests.instance import ROOT
from tests.rehearse.rehearse_command import SCALE, tiny


def locust(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/flash_sale.py", "--headless", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_sale_runs_in_locust_and_no_id_becomes_a_name(up: Up, tmp_path: Path) -> None:
    done = locust(
        *("--host", up.runs().url, "--scenario", str(tiny(tmp_path)), "--scale", SCALE),
        *("--csv", str(tmp_path / "sale"), "--only-summary", "--stop-timeout", "5"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "sale_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    expected = {"availability", "hold", "hold, refused", "change", "change, refused", "confirm"}
    assert set(rows) <= expected | {"facts", "confirm, refused", "Aggregated"}
    for name in ("availability", "hold", "confirm", "facts"):
        assert int(rows[name]["Request Count"]) > 0
    assert int(rows["Aggregated"]["Failure Count"]) == 0


def test_a_scenario_with_a_mistake_stops_locust_by_its_line(tmp_path: Path) -> None:
    file = tiny(tmp_path)
    file.write_text(file.read_text("utf-8").replace("skus = 10\n", "skus = 0\n"), "utf-8")
    done = locust("--scenario", str(file))
    assert done.returncode == 2
    assert f"{file}:8: everyday.skus" in done.stdout + done.stderr
