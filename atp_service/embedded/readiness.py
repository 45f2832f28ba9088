"""The instance's readiness to promise, as the API reports it, in words for the panel."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from atp_service.embedded.fetch import fetch


class _Dependency(Struct, frozen=True):
    state: str
    warnings: list[str]


class _Ready(Struct, frozen=True):
    dependencies: dict[str, _Dependency]
    ready: bool


class State(Struct, frozen=True):
    """`ready`: it promises; `degraded`: it promises, with warnings; `away`: it does not."""

    kind: Literal["ready", "degraded", "away"]
    words: str


def read_state(url: str) -> State:
    """The state of the API at `url`."""
    body = fetch(f"{url}/health/ready", refusals=True)
    if body is None:
        return State("away", "the API does not answer")
    try:
        report = msgspec.json.decode(body, type=_Ready)
    except msgspec.DecodeError:
        return State("away", "the API's answer can't be read")
    troubles = "; ".join(_troubles(report.dependencies))
    if not report.ready:
        return State("away", f"NOT READY: {troubles}")
    return State("degraded", f"ready, but {troubles}") if troubles else State("ready", "ready")


def _troubles(dependencies: dict[str, _Dependency]) -> Iterator[str]:
    for name, dependency in dependencies.items():
        warnings = ", ".join(dependency.warnings)
        if dependency.state != "up":
            yield f"{name} is {dependency.state}{': ' * bool(warnings)}{warnings}"
        elif warnings:
            yield f"{name} warns: {warnings}"
