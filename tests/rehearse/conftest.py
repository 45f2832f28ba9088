"""An empty ledger to write by hand, and one `atp up` for the tests that sell something."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.atp_up import Up
from tests.ledger.conftest import ledger

__all__ = ["ledger", "up"]


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The service as people start it, ready; every rehearsal brings its own goods."""
    started = Up(Path(tmp_path_factory.mktemp("up")) / "data", "--no-demo")
    try:
        started.runs()
        yield started
    finally:
        if started.process.poll() is None:
            started.stop(signal.SIGTERM)
