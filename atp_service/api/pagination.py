"""Lists a page at a time: `limit` and `cursor` in, `items` and `next_cursor` out."""

import re
from typing import Annotated, Any, TypeVar

from litestar.params import QueryParameter
from msgspec import Struct

from atp_service.api.problems import Refused, invalid

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="items on the page")]
NUMBER = "^[0-9]{1,18}$"
_DESCRIPTION = "`next_cursor` of the page before"
Cursor = Annotated[str | None, QueryParameter(description=_DESCRIPTION, max_length=64)]
NumberCursor = Annotated[
    str | None, QueryParameter(description=_DESCRIPTION, schema_extra={"pattern": NUMBER})
]


def number(text: str) -> int | None:
    """The id of what is numbered; None where it can be nobody's."""
    return int(text) if re.fullmatch(NUMBER, text) else None


def number_after(cursor: str | None) -> int | None:
    """The number that the page comes after; None for the first page."""
    if cursor is None:
        return None
    after = number(cursor)
    if after is None:
        raise Refused(invalid(("/cursor", "not a cursor of this list")))
    return after


class Page(Struct, frozen=True):
    """Items, and where to go on; null on the last page."""

    items: list[Any]
    next_cursor: str | None
