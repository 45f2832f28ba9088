"""Which line of a TOML file a key stands on: tomllib doesn't say.

A scan of headers and keys, not a parser: the file is known to be TOML by then. What it doesn't
find (a key within a value) stands on the line of the nearest key around it.
"""

import re

Path = tuple[str | int, ...]

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


class Lines:
    """The lines of a TOML text, found by a key's path: `("phases", 1, "seconds")`."""

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        table: Path = ()
        counts: dict[Path, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := _TABLE.match(line):
                table = _path(header[2])
                if header[1] == "[[":
                    self._found.setdefault(table, number)
                    place = counts[table] = counts.get(table, -1) + 1
                    table = (*table, place)
                self._found.setdefault(table, number)
            elif key := _KEY.match(line):
                self._found.setdefault((*table, *_path(key[1])), number)

    def of(self, path: Path) -> int:
        """The line of a key, or of what it would stand in; 1 where nothing is found."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._found:
                return self._found[path[:length]]
        return 1


def _path(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
