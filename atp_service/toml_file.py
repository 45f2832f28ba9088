"""TOML files that people write: decoded into structs; a mistake is named by its line and key."""

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
Keys = tuple[str | int, ...]  # ("phases", 1, "seconds"); numbers count tables from 0
Mistake = tuple[Keys, str]

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def read_toml(
    path: Path,
    kind: type[T],
    mistakes: Callable[[T], Iterable[Mistake]],
    error: Callable[[str], Exception],
) -> T:
    """The file as `kind`.

    Raises `error` with one line that begins with the file. It reports a file that cannot be read,
    a value that `kind` does not allow, or the first of `mistakes` in the decoded value.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as fault:
        raise error(f"{path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise error(f"{path}: not UTF-8: {fault}") from fault
    try:
        decoded = msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as fault:
        # "… (at line 3, column 5)", or "… (at end of document)"
        reason, _, position = str(fault).partition(" (at ")
        found = re.match(r"line (\d+)", position)
        line = int(found[1]) if found else len(text.splitlines())
        raise error(f"{path}:{line}: not TOML: {reason}") from fault
    except msgspec.ValidationError as fault:
        keys, what = _mistake_in(str(fault))
        raise error(f"{path}:{_line_of(keys, text)}: {_spelled(keys)}: {what}") from fault
    for keys, what in mistakes(decoded):
        raise error(f"{path}:{_line_of(keys, text)}: {_spelled(keys)}: {what}")
    return decoded


def _mistake_in(message: str) -> Mistake:
    """The keys and the reason in msgspec's "… field `x` - at `$.phases[1]`"."""
    reason, _, position = message.partition(" - at ")
    keys: Keys = tuple(
        int(number) if number else key
        for key, number in re.findall(r"\.?([^.\[\]`$]+)|\[(\d+)\]", position)
    )
    if (named := re.search(r"(unknown|required) field `([^`]+)`", reason)) is None:
        return keys, reason
    return (*keys, named[2]), "no such key" if named[1] == "unknown" else "missing"


def _spelled(keys: Keys) -> str:
    """Keys as people write them: `phases number 2.seconds`."""
    words = ""
    for key in keys:
        words += f" number {key + 1}" if isinstance(key, int) else f"{'.' * bool(words)}{key}"
    return words


def _line_of(keys: Keys, text: str) -> int:
    """The line of a key; of the nearest key around it, if the key has no line of its own.

    tomllib does not report lines. This scan of headers and keys is no parser: the text is known to
    be TOML.
    """
    lines: dict[Keys, int] = {}
    table: Keys = ()
    counts: dict[Keys, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = _split(header[2])
            if header[1] == "[[":
                lines.setdefault(table, number)
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_split(key[1])), number)
    return next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), 1)


def _split(dotted: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
