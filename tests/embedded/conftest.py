"""Instances for the tests to start and end as they like."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.embedded.atp_up import Up

Starter = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `atp up` without demo on a folder of the test's own, again if asked again."""
    started: list[Up] = []

    def starter(*options: str, **settings: str) -> Up:
        up = Up(tmp_path / "data", *(options or ("--no-demo",)), **settings)
        started.append(up)
        return up

    yield starter
    for up in started:
        if up.process.poll() is None:
            up.stop(signal.SIGTERM)
