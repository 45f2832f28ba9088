"""Many rows, a page at a time: the next page is on its way while the caller works on one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from psycopg import AsyncConnection

_ROWS: Final = 5_000


async def pages(
    connection: AsyncConnection[Any], query: str, parameters: Any = None, *, size: int = _ROWS
) -> AsyncIterator[list[Any]]:
    """The rows of a query, in binary, from a cursor on the server: `size` of them at once.

    Until the last page is taken, the connection serves nothing else.
    """
    async with connection.transaction(), connection.cursor("pages", binary=True) as cursor:
        await cursor.execute(query.encode(), parameters)
        coming = asyncio.create_task(cursor.fetchmany(size))
        try:
            while rows := await coming:
                coming = asyncio.create_task(cursor.fetchmany(size))
                yield rows
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
