"""A year of a real shop, from its file to the ledger, on a fresh instance of its own."""

import json
import subprocess
import sys
import time

from atp_service.processes.child import Child
from atp_service.processes.instance import find
from loadtests.bench.board import Check, Result
from loadtests.bench.machine import ROOT, environment_for, folder, until

SECONDS = 90.0
VERIFIED = 100_000  # entries a second
_TIMES_VERIFIED = 3
FILE = ROOT.parent / "shared/data/transactions/online_retail_uci/online_retail_full.csv.gz"
MAP = ROOT / "examples" / "online-retail.toml"


def measure(*, quick: bool) -> Result:
    """`atp replay` against `atp up --no-demo`: by the clock, from its start to its end. Then its
    ledger, and Redis, verified: by verify's own account of the walk."""
    if not FILE.exists():
        return Result(skipped="../shared/data is not here: the year of Online Retail is in it")
    if quick:
        return Result(skipped="a quick run leaves the year out")
    with folder() as data:
        environment = environment_for(data)
        log = data / "logs" / "up.log"
        command = [sys.executable, "-m", "atp_service", "up", "--no-demo"]
        up = Child("up", command, log=log, folder=ROOT, environment=environment)
        try:
            until(lambda: find(data) is not None, up)
            began = time.monotonic()
            replayed = subprocess.run(
                [*(sys.executable, "-m", "atp_service", "replay", FILE), *("--map", MAP, "--json")],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
            )
            seconds = time.monotonic() - began
            rates = [_verified(environment) for _ in range(_TIMES_VERIFIED)]
        finally:
            up.stop(60)
    summary = json.loads(replayed.stdout)
    became = (
        f"{summary['rows']:,} rows, {summary['published']:,} events, "
        f"{summary['applied']:,} applied, {summary['exceptions']:,} exceptions, "
        f"{summary['events_per_second']:,} events/s"
    )
    return Result(
        checks=[
            Check(
                what="the year of Online Retail, file to ledger",
                figures=[seconds],
                target=SECONDS,
                at_most=True,
                unit="s",
            ),
            Check(
                what="its ledger and Redis verified, entries/s",
                figures=rates,
                target=VERIFIED,
                at_most=False,
                unit="/s",
            ),
        ],
        notes=[became],
    )


def _verified(environment: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", "verify", "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    rate: float = json.loads(done.stdout)["entries_per_second"]
    return rate
