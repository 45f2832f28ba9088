"""Calls that change Postgres, known again by their Idempotency-Key.

The row that remembers a call is written in the transaction of its change, so there is never one
without the other; who repeats it meanwhile waits for that transaction, and is then a repeat.
"""

from typing import Any

from msgspec import Struct, structs
from psycopg import AsyncConnection


class Keyed(Struct, frozen=True):
    """A call under a key, about a subject; the same again is a repeat for so many hours."""

    call: str
    subject: str
    key: str
    hours: int


# A row that is older than the window is nobody's: it is taken over.
_NOTE = """
INSERT INTO keyed_calls AS known (call, subject, key)
VALUES (%(call)s, %(subject)s, %(key)s)
ON CONFLICT (call, subject, key) DO UPDATE
SET at = now(),
    came_to = ''
WHERE known.at < now() - make_interval(hours => %(hours)s)
RETURNING true
"""
# A few with every call that adds one: the table keeps to the window, and nobody waits for it.
_CLEAR = """
DELETE FROM keyed_calls
WHERE (call, subject, key) IN (
    SELECT call, subject, key
    FROM keyed_calls
    WHERE at < now() - make_interval(hours => %(hours)s)
    ORDER BY at
    LIMIT 10
    FOR UPDATE SKIP LOCKED
)
"""
_CAME_TO = """
SELECT came_to
FROM keyed_calls
WHERE (call, subject, key) = (%(call)s, %(subject)s, %(key)s)
  AND at >= now() - make_interval(hours => %(hours)s)
"""
_KEEP = """
UPDATE keyed_calls
SET came_to = %(came_to)s
WHERE (call, subject, key) = (%(call)s, %(subject)s, %(key)s)
"""


async def is_repeat(connection: AsyncConnection[Any], keyed: Keyed | None) -> bool:
    """Whether the call was made before; if not, it is noted, and its change must follow in the same
    transaction. Without a key no call is a repeat."""
    if keyed is None:
        return False
    values = structs.asdict(keyed)
    cursor = await connection.execute(_NOTE, values)
    if await cursor.fetchone() is None:
        return True
    await connection.execute(_CLEAR, values)
    return False


async def keep(connection: AsyncConnection[Any], keyed: Keyed | None, came_to: str) -> None:
    """Keep what the call came to, for repeats."""
    if keyed is not None:
        await connection.execute(_KEEP, structs.asdict(keyed) | {"came_to": came_to})


async def came_to(connection: AsyncConnection[Any], keyed: Keyed | None) -> str | None:
    """What was kept of the call; None where it is no repeat."""
    if keyed is None:
        return None
    cursor = await connection.execute(_CAME_TO, structs.asdict(keyed))
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
