"""What a well-formed id, text or quantity is, everywhere at the edges (api.md, first paragraph)."""

import re
from typing import Annotated, Literal

from msgspec import Meta

# A trailing newline would slip past `$` in Python, hence the look-ahead; ECMA reads it the same.
PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f{}]+$(?!\n)"
_TEXT = r"^[^\u0000-\u001f\u007f-\u009f]*$(?!\n)"

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=PRINTABLE,
        description="1–64 printable characters, no control characters, `{` or `}`",
        examples=["SKU-1"],
    ),
]
LocationId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32,
        pattern=PRINTABLE,
        description="1–32 printable characters, no control characters, `{` or `}`",
        examples=["DC-1"],
    ),
]
Text = Annotated[
    str,
    Meta(max_length=256, pattern=_TEXT, description="up to 256 characters, no control characters"),
]
Quantity = Annotated[
    int, Meta(ge=1, le=1_000_000_000, description="units, in the SKU's base unit", examples=[2])
]

Owner = Literal["stores", "ecommerce", "fulfilment", "finance", "integration"]  # of exceptions
SnapshotPolicy = Literal["correct", "review", "report"]  # for a difference beyond the tolerance

# Why a line may not be promised; the script has the order in which reasons win. `unasked`: master
# data is away, so that the SKU and location are known only if they have a level.
Refusal = Literal[
    "unknown_sku",
    "unknown_location",
    "unasked",
    "unknown_channel",
    "unasked_channel",
    "sku",
    "inactive",
    "closed",
    "channel",
]

_FOUR_FIELDS = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_trace = re.compile(rf"({_FOUR_FIELDS})(-.*)?", re.DOTALL).fullmatch


def traceparent_of(text: object) -> str | None:
    """A trace's four fields; None for what is no traceparent (W3C Trace Context, 3.2).

    A later version may have more fields: they mean nothing to us, and there is no room for them.
    """
    found = _trace(text) if isinstance(text, str) else None
    if found is None or (found[2] and found[1].startswith("00")):
        return None
    return found[1]
