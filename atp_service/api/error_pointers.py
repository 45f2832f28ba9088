"""What is wrong with a value and where, as a JSON pointer and a message, out of msgspec's words.

Of a map msgspec doesn't say which entry is at fault. The map is halved until one entry is left that
is refused in the same words; what stands beside it in the document is left out meanwhile, so that
this costs about as much as the first reading did.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import ValidationError
from msgspec.json import encode

Place = tuple[str, str]

_WORDS = re.compile(
    r"^(?P<message>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL
)
_FIELD = re.compile(r"field `(?P<name>[^`]*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SOME_ENTRY = "..."


def located(words: str) -> Place:
    """Pointer and message; the pointer ends at a map if the words don't name its entry."""
    message, steps = _taken_apart(words)
    known = steps[: steps.index(_SOME_ENTRY)] if _SOME_ENTRY in steps else steps
    return pointer(known), message


def located_in(document: Any, words: str, read: Callable[[bytes], object]) -> Place:
    """As `located`, with the entries of maps found in a document that `read` has refused; only what
    the pointer leads through is left of it. Where a key came twice, what was refused may not be in
    the document: then no more is found than the words have."""
    message, steps = _taken_apart(words)
    node = document
    found: list[str] = []
    for step in steps:
        if step == _SOME_ENTRY:
            entry = isinstance(node, dict) and _entry_at_fault(document, node, words, read)
            if not isinstance(entry, str):
                break
            step = entry
        found.append(step)
        node = _inside(node, step)
    return pointer(found), message


def pointer(steps: Sequence[str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _taken_apart(words: str) -> tuple[str, list[str]]:
    place = _WORDS.match(words)
    assert place is not None  # noqa: S101  # the pattern matches any text
    message = place["message"]
    steps = [name or index for name, index in _STEP.findall(place["path"] or "")]
    if place["key"]:
        steps.append(_SOME_ENTRY)
    if field := _FIELD.search(message):
        steps.append(field["name"])
    if "matching regex" in message:
        message = "Has a character that isn't allowed here"
    return message, steps


def _entry_at_fault(
    document: Any, node: dict[str, Any], words: str, read: Callable[[bytes], object]
) -> str | None:
    """The key in `node`, a map inside `document`; None where no entry is refused so by itself."""

    def refused(entries: list[tuple[str, Any]]) -> bool:
        node.clear()
        node.update(entries)
        try:
            read(encode(document))
        except ValidationError as error:
            return str(error) == words
        except RecursionError:
            return False
        return False

    entries = list(node.items())
    while len(entries) > 1:
        middle = len(entries) // 2
        entries = entries[:middle] if refused(entries[:middle]) else entries[middle:]
    return entries[0][0] if refused(entries) else None


def _inside(node: Any, step: str) -> Any:
    """What the step leads to, alone; None where it leads nowhere in this document."""
    if isinstance(node, list):
        return node[int(step)] if step.isdigit() and int(step) < len(node) else None
    if not isinstance(node, dict) or step not in node:
        return None
    inner = node[step]
    node.clear()
    node[step] = inner
    return inner
