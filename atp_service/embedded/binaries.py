"""Where the servers' programs are: named by a setting, in a wheel, or on the PATH if new enough."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atp_service.embedded.errors import CannotStart


@dataclass(frozen=True)
class Program:
    """A server's program, and the version it says it has."""

    path: Path
    version: tuple[int, ...]

    @property
    def major(self) -> int:
        return self.version[0]


@dataclass(frozen=True)
class Wanted:
    """A program to look for."""

    name: str
    setting: str
    url_setting: str
    package: str
    on_path: tuple[str, ...]
    at_least: tuple[int, ...]


def find(wanted: Wanted, explicit: Path | None, in_wheel: Sequence[Path]) -> Program:
    """The first there is of: the one the setting names, the wheel's, one on the PATH.

    `explicit` is never passed over in silence: where it doesn't do, that is an error.
    """
    if explicit is not None:
        program = _ask(explicit)
        if program is None:
            raise CannotStart(
                f"{wanted.setting}={explicit} is not a {wanted.name} program that runs here",
                f"set {wanted.setting} to one, or unset it to use the one installed with us",
            )
        return program
    on_path = [Path(found) for name in wanted.on_path if (found := shutil.which(name))]
    for candidate in [*in_wheel, *on_path]:
        program = _ask(candidate)
        if program is not None and program.version >= wanted.at_least:
            return program
    version = ".".join(str(part) for part in wanted.at_least)
    raise CannotStart(
        f"no {wanted.name} {version} or newer was found",
        f"install {wanted.package}, or set {wanted.setting} to a program, "
        f"or set {wanted.url_setting} to a server that runs already",
    )


def inside(package: str, *parts: str) -> list[Path]:
    """Files of an installed package, by pattern, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [
        path
        for location in spec.submodule_search_locations
        for path in sorted(Path(location).glob("/".join(parts)))
    ]


def beside_python(name: str) -> list[Path]:
    """A program in the environment's own folder of scripts."""
    path = Path(sys.executable).parent / name
    return [path] if path.exists() else []


def _ask(path: Path) -> Program | None:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said.stdout + said.stderr)
    if number is None:
        return None
    return Program(path.absolute(), tuple(int(part) for part in number.groups() if part))
