"""What a well-formed id, text or quantity is, everywhere at the edges (api.md, first paragraph)."""

from typing import Annotated

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
