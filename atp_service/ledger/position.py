"""How far a partition is recorded, and what the next entry has to continue."""

from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection

from atp_service.postgres import Unavailable

GENESIS = bytes(32)  # the chain before the first entry


class Position(Struct, frozen=True):
    """The last recorded entry: `digest` is the journal's, `chain` the ledger's own."""

    epoch: int
    seq: int
    digest: str
    chain: bytes
    run_id: str


class Stale(Exception):
    """Another recorder has recorded these entries meanwhile."""


class Refused(Exception):
    """Postgres does not take the rows, and would not later either: a version of a level twice."""


class Forked(Exception):
    """The journal does not continue the ledger. Nothing of it may be written."""


class NotRecorded(Unavailable):
    """Postgres is there, but the ledger doesn't have the entry yet."""


async def read_position(connection: AsyncConnection[Any], partition: int) -> Position | None:
    """The partition's position; None if it was never opened."""
    cursor = await connection.execute(
        """
        SELECT epoch, seq, digest, chain, run_id
        FROM positions
        WHERE partition = %(partition)s
        """,
        {"partition": partition},
    )
    row = await cursor.fetchone()
    return row and Position(*row)
