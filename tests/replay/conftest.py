"""An instance of the service for each test, and the real invoices."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.replay.instance import ROOT, Instance

SHARED = ROOT.parent / "shared" / "data" / "transactions" / "online_retail_uci"


@pytest.fixture
def instance(
    redis_url: str,
    nats_url: str,
    database_url: str,
    empty_nats: Client,
    tmp_path: Path,
) -> Iterator[Instance]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    instance = Instance(
        {
            **kept,
            "PYTHONPATH": str(ROOT),
            "ATP_DATA": str(tmp_path / "data"),
            "ATP_PORT": str(port),
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


@pytest.fixture
def online_retail() -> Path:
    """The folder with the real invoices, which are not part of this project."""
    if not SHARED.is_dir():
        pytest.skip(f"the Online Retail data is not in {os.path.relpath(SHARED, ROOT)}")
    return SHARED
