"""The calls that the examples show are true."""

import json
import shutil
import subprocess

import pytest

from tests.instance import ROOT, Instance


def test_the_walk_through_ends_with_three_kettles(instance: Instance) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    instance.start_serving()
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "walk-through.sh"), str(instance.http.base_url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    (item,) = answer["items"]
    (level,) = item["locations"]
    assert (item["ats"], level["on_hand"], level["allocated"]) == (3, 3, 0)
