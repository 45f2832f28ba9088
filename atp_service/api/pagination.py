"""Lists a page at a time: `limit` and `cursor` in, `items` and `next_cursor` out."""

import re
from typing import Annotated

from litestar.params import QueryParameter

from atp_service.api.problems import Refused, invalid

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="items on the page")]
NUMBER = "^[0-9]{1,18}$"
_DESCRIPTION = "`next_cursor` of the page before"
Cursor = Annotated[str | None, QueryParameter(description=_DESCRIPTION, max_length=64)]
NumberCursor = Annotated[
    str | None, QueryParameter(description=_DESCRIPTION, schema_extra={"pattern": NUMBER})
]


def number(text: str) -> int | None:
    """The number that the text is an id of; None if it can't be one."""
    return int(text) if re.fullmatch(NUMBER, text) else None


def number_after(cursor: str | None) -> int | None:
    """The number that the page comes after; None for the first page."""
    if cursor is None:
        return None
    after = number(cursor)
    if after is None:
        raise Refused(invalid(("/cursor", "not a cursor of this list")))
    return after
