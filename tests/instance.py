"""This service as processes of their own, on an empty Redis, an empty NATS and a new database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from nats.aio.client import Client

ROOT = Path(__file__).parents[1]
GRACE_SECONDS = 15.0


class Instance:
    """Starts `atp` commands and looks at what they do, over HTTP and in the ledger."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.python = sys.executable
        self.log = log
        self._running: list[subprocess.Popen[bytes]] = []
        address = f"http://127.0.0.1:{environment['ATP_PORT']}"
        self.http = httpx2.Client(base_url=address, timeout=10)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """`atp` with these words; what it says goes to the log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-m", "atp_service", *command],
                env=self.environment,
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def start_serving(self) -> subprocess.Popen[bytes]:
        """The API, ready when this returns."""
        serving = self.start("serve")
        self.until(self.is_ready, "the API is ready")
        return serving

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def recorded(self, query: str) -> list[tuple[Any, ...]]:
        """Rows from the ledger."""
        with psycopg.connect(self.environment["ATP_DATABASE_URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def recorded_seq(self) -> int:
        """The ledger's latest entry; 0 before the first."""
        rows = self.recorded("SELECT seq FROM positions")
        return int(rows[0][0]) if rows else 0

    def until(self, happened: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        self.http.close()
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def instance(
    redis_url: str,
    nats_url: str,
    database_url: str,
    empty_nats: Client,
    own_port: int,
    tmp_path: Path,
) -> Iterator[Instance]:
    """Nothing runs yet. One test a module: the database is the module's, Redis is the test's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    instance = Instance(
        {
            **kept,
            "PYTHONPATH": str(ROOT),
            "ATP_DATA": str(tmp_path / "data"),
            "ATP_PORT": str(own_port),
            "ATP_REDIS_URL": redis_url,
            "ATP_NATS_URL": nats_url,
            "ATP_DATABASE_URL": database_url,
            "ATP_AUTO_CREATE": "true",
        },
        tmp_path / "processes.log",
    )
    try:
        yield instance
    finally:
        instance.stop()
