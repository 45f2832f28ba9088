"""Lists a page at a time: `limit` and `cursor` in, `items` and `next_cursor` out."""

from typing import Annotated, Any, TypeVar

from litestar.params import QueryParameter
from msgspec import Struct

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="items on the page")]
Cursor = Annotated[
    str | None, QueryParameter(description="`next_cursor` of the page before", max_length=64)
]


class Page(Struct, frozen=True):
    """Items, and where to go on; null on the last page."""

    items: list[Any]
    next_cursor: str | None
