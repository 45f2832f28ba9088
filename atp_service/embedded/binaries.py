"""The servers' programs: named by a setting, in a wheel, or on the PATH if new enough."""

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
    """A server's program, and the version that it reports."""

    path: Path
    version: tuple[int, ...]

    @property
    def major(self) -> int:
        return self.version[0]


@dataclass(frozen=True)
class Wanted:
    """A program to look for, and the settings and package that provide it."""

    name: str
    setting: str
    url_setting: str
    on_path: tuple[str, ...]
    at_least: tuple[int, ...]


def find(wanted: Wanted, explicit: str | Path | None, in_wheel: Sequence[Path]) -> Program:
    """The program that the setting names (`explicit`), else the wheel's, else one on the PATH.

    Raises CannotStart if `explicit` doesn't run, or if there is none that is new enough.
    """
    if explicit is not None:
        program = _program_at(Path(explicit).expanduser())
        if program is None:
            raise CannotStart(
                f"{wanted.setting}={explicit} is not a {wanted.name} program that runs here",
                f"set {wanted.setting} to one, or unset it to use the one of the extra `embedded`",
            )
        return program
    on_path = [Path(found) for name in wanted.on_path if (found := shutil.which(name))]
    for candidate in [*in_wheel, *on_path]:
        program = _program_at(candidate)
        if program is not None and program.version >= wanted.at_least:
            return program
    version = ".".join(str(part) for part in wanted.at_least)
    raise CannotStart(
        f"no {wanted.name} {version} or newer was found: pip install 'atp-service[embedded]', "
        f"or set {wanted.url_setting} to a server that runs, or {wanted.setting} to a program"
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


def _program_at(path: Path) -> Program | None:
    try:
        reported = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", reported.stdout + reported.stderr)
    if number is None:
        return None
    return Program(path.absolute(), tuple(int(part) for part in number.groups() if part))
