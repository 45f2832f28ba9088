"""The run's rows, read from the ledger's own tables as of one moment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import Connection

from atp_service.rehearse import CannotRehearse
from atp_service.rehearse.ledger_fold import Figures, LedgerFold, LevelKey, Row, fold
from atp_service.rehearse.run_names import RunNames

_ROWS_AT_ONCE = 5_000


class Projections(Struct, kw_only=True):
    """The ledger's tables beside its entries, which must agree with them.

    `moved` has the sum of each level's movements of on_hand, `reservations` the images by id.
    """

    levels: dict[LevelKey, Figures]
    moved: dict[LevelKey, int]
    reservations: dict[str, bytes]


class LedgerReader:
    """Reads with the service's own role, on connections of its own.

    Each method raises CannotRehearse if the ledger cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def positions(self) -> dict[int, int]:
        """The latest entry's seq by partition; partitions without an entry are left out."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT partition, seq FROM positions").fetchall())

    def missing(self, source: str, event_ids: Sequence[str]) -> int:
        """How many of a source's events are not recorded."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM events WHERE source = %s AND event_id = ANY(%s)",
                (source, list(event_ids)),
            ).fetchone()
        return len(event_ids) - (int(row[0]) if row else 0)

    def run(self, names: RunNames, after: dict[int, int]) -> tuple[LedgerFold, Projections]:
        """The run's entries after these positions, folded, and its rows in the other tables."""
        with self._connection() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return fold(_entries(connection, after), names), _projections(connection, names)

    def figures_at(self, versions: dict[LevelKey, int]) -> dict[LevelKey, Figures]:
        """The figures that levels had at these versions; versions not recorded are left out."""
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
                    "skus": [sku for sku, _ in versions],
                    "locations": [location for _, location in versions],
                    "versions": list(versions.values()),
                },
            )
            return {(row[0], row[1]): row[2:] for row in rows}

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        try:
            with psycopg.connect(
                self._url, connect_timeout=5, application_name="atp rehearse"
            ) as connection:
                yield connection
        except psycopg.Error as fault:
            reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
            raise CannotRehearse(f"the ledger can't be read: {reason}") from fault


def _entries(connection: Connection[Any], after: dict[int, int]) -> Iterator[Row]:
    partitions = connection.execute("SELECT partition FROM positions ORDER BY partition").fetchall()
    for (partition,) in partitions:
        with connection.cursor(name="entries", binary=True) as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(
                """
                SELECT seq, command, head, images
                FROM entries
                WHERE partition = %s AND seq > %s
                ORDER BY seq
                """,
                (partition, after.get(partition, 0)),
            )
            yield from cursor


def _projections(connection: Connection[Any], names: RunNames) -> Projections:
    keys = {"locations": [names.shop, names.store], "skus": names.skus}
    levels = connection.execute(
        """
        SELECT sku, location, on_hand, reserved, allocated
        FROM levels
        WHERE sku = ANY(%(skus)s) AND location = ANY(%(locations)s)
        """,
        keys,
    )
    moved = connection.execute(
        """
        SELECT sku, location, sum(on_hand_delta)::bigint
        FROM movements
        WHERE sku = ANY(%(skus)s) AND location = ANY(%(locations)s)
        GROUP BY sku, location
        """,
        keys,
    )
    # Ids compare by bytes, so ids with one beginning stand together.
    reservations = connection.execute(
        """
        SELECT reservation_id, document
        FROM reservations
        WHERE reservation_id > %(run)s || '-' AND reservation_id < %(run)s || '.'
        """,
        {"run": names.run},
    )
    return Projections(
        levels={(row[0], row[1]): row[2:] for row in levels},
        moved={(row[0], row[1]): row[2] for row in moved},
        reservations={row[0]: bytes(row[1]) for row in reservations},
    )
