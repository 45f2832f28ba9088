"""`atp rehearse` as people run it, on a sale that is over in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from atp_service.cli.rehearse import command
from tests.embedded.atp_up import environment

TINY = """
name = "tiny sale"
buyers = 10_000
[sale]
skus = 5
units = 400
[everyday]
skus = 10
units = 2_000
[buyer]
think_seconds = [0.05, 0.2]
hold_seconds = 2
patience_seconds = 2
gives_up_seconds = 60
two_units = 0.1
second_line = 0.2
[mix]
browse = 0.2
walk_away = 0.2
confirm = 0.3
change = 0.15
repeat = 0.15
[operations]
facts_per_second = 1_000
[[phases]]
name = "baseline"
seconds = 0.5
from = 1
to = 1
sale = 0.0
[[phases]]
name = "plateau"
seconds = 3
from = 12
to = 12
sale = 0.9
"""
SCALE = "0.02"


def tiny(folder: Path) -> Path:
    """The scenario's file; at `SCALE` 200 buyers, 40 units on sale and 20 facts a second."""
    file = folder / "tiny-sale.toml"
    file.write_text(TINY, "utf-8")
    return file


def rehearse(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "atp_service", "rehearse", *words],
        env=environment(COLUMNS="120", **settings),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def refused(*words: str, **settings: str) -> str:
    """What it says in its one line when there is no verdict."""
    ours: dict[str, str | None] = dict.fromkeys(n for n in os.environ if n.startswith("ATP_"))
    done = CliRunner().invoke(command, words, env=ours | settings)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("atp: ")]
    assert done.stderr.splitlines()[-1] == line
    return line


def figures(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_bytes())
    return document


def audited(document: dict[str, Any]) -> dict[str, int]:
    return {figure["key"]: figure["count"] for figure in document["audit"]["figures"]}
