"""The run's rows, read from the ledger's own tables in one consistent look."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import Connection

from atp_service.rehearse.errors import CannotRehearse
from atp_service.rehearse.ledger_fold import Books, Place, Row, fold
from atp_service.rehearse.run_names import Goods

_ROWS_AT_ONCE = 5_000

Numbers = tuple[int, int, int]  # on_hand, reserved, allocated


class Projections(Struct, kw_only=True):
    """What the ledger keeps beside its entries: it must say the same."""

    levels: dict[Place, Numbers]
    moved: dict[Place, int]
    reservations: dict[str, bytes]


class LedgerReader:
    """Reads with the service's own role, on connections of its own. Raises CannotRehearse."""

    def __init__(self, url: str) -> None:
        self._url = url

    def last_seq(self) -> int:
        """The latest entry; 0 before the first."""
        with self._connection() as connection:
            row = connection.execute("SELECT seq FROM positions WHERE partition = 0").fetchone()
        return int(row[0]) if row else 0

    def missing(self, source: str, event_ids: Sequence[str]) -> int:
        """How many of a source's events aren't recorded."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM events WHERE source = %s AND event_id = ANY(%s)",
                (source, list(event_ids)),
            ).fetchone()
        return len(event_ids) - (int(row[0]) if row else 0)

    def run(self, goods: Goods, after_seq: int) -> tuple[Books, Projections]:
        """Everything about the run, as of one moment."""
        with self._connection() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            books = fold(_entries(connection, after_seq), goods)
            return books, _projections(connection, goods)

    def numbers_at(self, asked: dict[Place, int]) -> dict[Place, Numbers]:
        """The numbers that levels had at a version of theirs; without those not recorded yet."""
        with self._connection() as connection:
            rows = connection.execute(
                """
                SELECT sku, location, on_hand, reserved, allocated
                FROM movements
                JOIN unnest(%(skus)s::text[], %(locations)s::text[], %(versions)s::bigint[])
                    AS asked (sku, location, version)
                    USING (sku, location, version)
                """,
                {
                    "skus": [place[0] for place in asked],
                    "locations": [place[1] for place in asked],
                    "versions": list(asked.values()),
                },
            )
            return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        try:
            with psycopg.connect(
                self._url, connect_timeout=5, application_name="atp rehearse"
            ) as connection:
                yield connection
        except psycopg.Error as fault:
            reason = str(fault).strip().splitlines() or [type(fault).__name__]
            raise CannotRehearse(f"the ledger can't be read: {reason[0]}") from fault


def _entries(connection: Connection[Any], after_seq: int) -> Iterator[Row]:
    with connection.cursor(name="entries", binary=True) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(
            """
            SELECT seq, command, head, images
            FROM entries
            WHERE partition = 0 AND seq > %s
            ORDER BY seq
            """,
            (after_seq,),
        )
        for row in cursor:
            yield Row(*row)


def _projections(connection: Connection[Any], goods: Goods) -> Projections:
    places = {"locations": [goods.shop, goods.store], "skus": goods.skus}
    levels = connection.execute(
        """
        SELECT sku, location, on_hand, reserved, allocated
        FROM levels
        WHERE sku = ANY(%(skus)s) AND location = ANY(%(locations)s)
        """,
        places,
    ).fetchall()
    moved = connection.execute(
        """
        SELECT sku, location, sum(on_hand_delta)::bigint
        FROM movements
        WHERE sku = ANY(%(skus)s) AND location = ANY(%(locations)s)
        GROUP BY sku, location
        """,
        places,
    ).fetchall()
    # Ids compare by bytes, so all that begin alike stand together.
    reservations = connection.execute(
        """
        SELECT reservation_id, document
        FROM reservations
        WHERE reservation_id > %(run)s || '-' AND reservation_id < %(run)s || '.'
        """,
        {"run": goods.run},
    ).fetchall()
    return Projections(
        levels={(row[0], row[1]): (row[2], row[3], row[4]) for row in levels},
        moved={(row[0], row[1]): row[2] for row in moved},
        reservations={row[0]: bytes(row[1]) for row in reservations},
    )
