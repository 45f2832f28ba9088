"""Calls that change Postgres, recognized by their Idempotency-Key.

The row that remembers a call is written in the transaction of its change, so there is never one
without the other. A repeat that comes meanwhile waits for that transaction.
"""

from typing import Any

from msgspec import Struct, structs
from psycopg import AsyncConnection


class Keyed(Struct, frozen=True):
    """A call under a key, about a subject. For `hours` the same call is a repeat."""

    call: str
    subject: str
    key: str
    hours: int


# The next call takes over a row that is older than the window.
_NOTE = """
INSERT INTO keyed_calls AS known (call, subject, key)
VALUES (%(call)s, %(subject)s, %(key)s)
ON CONFLICT (call, subject, key) DO UPDATE
SET at = now(),
    came_to = ''
WHERE known.at < now() - make_interval(hours => %(hours)s)
RETURNING true
"""
# Each call that adds a row deletes a few old ones: the table keeps to the window, without a wait.
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
_RESULT = """
SELECT came_to
FROM keyed_calls
WHERE (call, subject, key) = (%(call)s, %(subject)s, %(key)s)
  AND at >= now() - make_interval(hours => %(hours)s)
"""
_KEEP = """
UPDATE keyed_calls
SET came_to = %(result)s
WHERE (call, subject, key) = (%(call)s, %(subject)s, %(key)s)
"""


async def is_repeat(connection: AsyncConnection[Any], keyed: Keyed | None) -> bool:
    """Whether the call was made before; without a key it never was.

    If it was not, it is noted, and its change must follow in the same transaction.
    """
    if keyed is None:
        return False
    values = structs.asdict(keyed)
    cursor = await connection.execute(_NOTE, values)
    if await cursor.fetchone() is None:
        return True
    await connection.execute(_CLEAR, values)
    return False


async def keep(connection: AsyncConnection[Any], keyed: Keyed | None, result: str) -> None:
    """Keep the call's result for its repeats."""
    if keyed is not None:
        await connection.execute(_KEEP, structs.asdict(keyed) | {"result": result})


async def kept_result(connection: AsyncConnection[Any], keyed: Keyed | None) -> str | None:
    """The result that was kept of the call; None if it is no repeat."""
    if keyed is None:
        return None
    cursor = await connection.execute(_RESULT, structs.asdict(keyed))
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
