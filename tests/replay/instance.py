"""This service as processes of their own: a worker, an API, and `atp replay`."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "online-retail.toml"


class Instance:
    """Processes on this module's database, an empty Redis and an empty NATS."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []
        self.database_url = environment["ATP_DATABASE_URL"]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{environment['ATP_PORT']}", timeout=10)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "atp_service", *command],
                env=self._environment,
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def start_serving(self) -> None:
        self.start("serve")
        self.until(self._ready, "the API is ready")

    def _ready(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def replay(self, file: Path, mapping: Path = EXAMPLE, *, code: int = 0) -> dict[str, Any]:
        """The summary of `atp replay FILE --map MAP --json`."""
        done = subprocess.run(
            [sys.executable, "-m", "atp_service", *self.replaying(file, mapping), "--json"],
            env=self._environment,
            cwd=self._log.parent,
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stderr.decode() + self._log.read_text()
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def replaying(self, file: Path, mapping: Path = EXAMPLE) -> list[str]:
        return ["replay", str(file), "--map", str(mapping)]

    def ledger_on_hand(self) -> dict[str, int]:
        """on_hand at UK-DC by SKU, as the ledger has it."""
        with psycopg.connect(self.database_url) as connection:
            return dict(
                connection.execute(
                    "SELECT sku, on_hand FROM levels WHERE location = 'UK-DC'"
                ).fetchall()
            )

    def ledger_seq(self) -> int:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute("SELECT seq FROM positions").fetchone()
        return row[0] if row else 0

    def served_on_hand(self, skus: list[str]) -> dict[str, int]:
        """on_hand at UK-DC by SKU, as `GET /v1/availability` says; ATS and shortage fit it."""
        found = {}
        for at in range(0, len(skus), 100):
            asked: list[tuple[str, str]] = [("location", "UK-DC")]
            asked += [("sku", sku) for sku in skus[at : at + 100]]
            answer = self.http.get("/v1/availability", params=asked)  # type: ignore[arg-type]
            assert answer.status_code == 200, answer.text
            for item in answer.json()["items"]:
                (level,) = item["locations"]
                found[item["sku"]] = level["on_hand"]
                assert item["ats"] == max(0, level["on_hand"])
                assert item["shortage"] == max(0, -level["on_hand"])
        return found

    def until(self, happened: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        self.http.close()
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
