"""The script: the Lua files of inventory/lua, joined in the order in which they need each other."""

import re
from functools import cache
from hashlib import sha1
from importlib.resources import files

CLOCK = "clock"
PARTS = (
    "validation",
    "retention",
    "stock",
    "deadlines",
    "reservations",
    "fulfilment",
    "facts",
    "repair",
    "batch",
)
FAMILIES = ("validation", "fulfilment", "facts", "repair")
"""Parts that are a function each: called when the first of what they answer is needed."""


def part(name: str) -> str:
    return (files("atp_service.inventory") / "lua" / f"{name}.lua").read_text("utf-8")


@cache
def constants() -> dict[str, str]:
    """The numbers that have names, from constants.lua."""
    return dict(re.findall(r"^([A-Z_]+) = (\d+)", part("constants"), flags=re.MULTILINE))


def with_numbers(source: str) -> str:
    """The source with numbers in the stead of their names."""
    return re.sub(r"\b[A-Z][A-Z_]+\b", lambda word: constants().get(word[0], word[0]), source)


def joined(name: str) -> str:
    return f"local function {name}()\n{part(name)}end\n" if name in FAMILIES else part(name)


def join(clock: str) -> str:
    """The script with a given clock; tests join one that they hold in their hand."""
    return with_numbers("\n".join([clock, *(joined(name) for name in PARTS)]))


class Script:
    """The source, and the SHA-1 by which Redis knows it."""

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest().encode()


@cache
def production_script() -> Script:
    return Script(join(part(CLOCK)))
