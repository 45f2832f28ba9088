"""Reconciliations: requests, runs (one at a time, under a lease) and their reports."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from atp_service.ledger.ledger import Ledger
from atp_service.postgres.binary import as_json
from atp_service.postgres.idempotency import Keyed, is_repeat, keep, kept_result
from atp_service.postgres.leases import SILENCE_SECONDS, leased
from atp_service.postgres.unavailable import Unavailable, unavailable_when_away

RunStatus = Literal["requested", "running", "done", "failed"]
Kind = Literal["level", "locations", "reservation", "deadline", "order"]

_ALL_PARTITIONS = -1  # one run covers them all
BROKEN_OFF = "broken off: its worker ended, was frozen, or lost Postgres"


class Scope(Struct, frozen=True, forbid_unknown_fields=True):
    """Which levels are compared. If neither is named, all are, and everything else too."""

    skus: list[str] = []
    locations: list[str] = []

    @property
    def whole(self) -> bool:
        return not self.skus and not self.locations


class Drift(Struct, frozen=True, kw_only=True):
    """One thing that was not as the ledger has it. `entry` is that of its repair.

    `found` and `expected` are null if there was, or should have been, nothing.
    """

    kind: Kind
    sku: str | None = None
    location: str | None = None
    reservation_id: str | None = None
    order_id: str | None = None
    found: Any = None
    expected: Any = None
    repaired: bool = False
    entry: int | None = None


class Compared(Struct):
    """How much has been compared so far."""

    levels: int = 0
    reservations: int = 0
    orders: int = 0
    deadlines: int = 0

    def add(self, kind: Literal["reservations", "orders"], count: int) -> None:
        setattr(self, kind, getattr(self, kind) + count)


class Report(Struct, kw_only=True):
    """What a run has compared and found; `drift` has the first thousand of `drift_total`.

    `through_seq` is the last entry that was compared; `reason` says why a run failed.
    """

    compared: Compared = msgspec.field(default_factory=Compared)
    drift: list[Drift] = []
    drift_total: int = 0
    repaired: int = 0
    seconds: float = 0.0
    through_seq: int = 0
    reason: str | None = None


class Reconciliation(Struct, frozen=True, kw_only=True):
    """One run: its request, its status, its report."""

    id: int
    status: RunStatus
    scope: Scope
    repair: bool
    asked_by: str
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    report: Report


_COLUMNS = ", ".join(Reconciliation.__struct_fields__)

# A run that still waits will see everything that a second caller has in mind: both get it.
_REQUEST = f"""
INSERT INTO reconciliations (status, scope, repair, asked_by)
VALUES ('requested', %(scope)s, %(repair)s, %(asked_by)s)
ON CONFLICT (md5(scope::text), repair) WHERE status = 'requested'
DO UPDATE SET asked_by = reconciliations.asked_by
RETURNING {_COLUMNS}
"""  # noqa: S608  # columns of ours, as below
_UNKNOWN_SKUS = """
SELECT sku
FROM unnest(%(asked)s::text[]) AS asked (sku)
WHERE NOT EXISTS (SELECT FROM skus WHERE skus.id = asked.sku)
  AND NOT EXISTS (SELECT FROM levels WHERE levels.sku = asked.sku)
"""
_UNKNOWN_LOCATIONS = """
SELECT location
FROM unnest(%(asked)s::text[]) AS asked (location)
WHERE NOT EXISTS (SELECT FROM locations WHERE locations.id = asked.location)
  AND NOT EXISTS (SELECT FROM levels WHERE levels.location = asked.location)
"""
_TAKE = f"""
UPDATE reconciliations
SET status = 'running',
    started_at = clock_timestamp()
WHERE id = (SELECT min(id) FROM reconciliations WHERE status = 'requested')
RETURNING {_COLUMNS}
"""  # noqa: S608
_BREAK_OFF = """
UPDATE reconciliations
SET status = 'failed',
    finished_at = clock_timestamp(),
    report = report || jsonb_build_object('reason', %(reason)s::text)
WHERE status = 'running'
"""
_REPORT = "UPDATE reconciliations SET report = %(report)s WHERE id = %(id)s"
_FINISH = """
UPDATE reconciliations
SET status = %(status)s,
    finished_at = clock_timestamp(),
    report = %(report)s
WHERE id = %(id)s
"""
_PAGE = f"""
SELECT {_COLUMNS}
FROM reconciliations
WHERE %(before)s::bigint IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s
"""  # noqa: S608
_ONE = f"SELECT {_COLUMNS} FROM reconciliations WHERE id = %(id)s"  # noqa: S608


async def request(ledger: Ledger, scope: Scope, *, repair: bool, asked_by: str) -> Reconciliation:
    """Ask for a run; a worker takes it up within a second or two. If the same run is asked for
    and waits already, it is that one."""
    async with ledger.connection() as connection:
        return await _requested(connection, scope, repair, asked_by)


async def request_under(
    ledger: Ledger, keyed: Keyed, scope: Scope, *, repair: bool, asked_by: str
) -> tuple[Reconciliation, bool]:
    """As `request`, once for a key: the run, and whether it was asked for before."""
    async with ledger.connection() as connection:
        if not await is_repeat(connection, keyed):
            run = await _requested(connection, scope, repair, asked_by)
            await keep(connection, keyed, str(run.id))
            return run, False
    before = await asked_before(ledger, keyed)
    if before is not None:
        return before, True
    # The key has been forgotten in between.
    return await request_under(ledger, keyed, scope, repair=repair, asked_by=asked_by)


async def _requested(
    connection: AsyncConnection[Any], scope: Scope, repair: bool, asked_by: str
) -> Reconciliation:
    same = Scope(skus=sorted(set(scope.skus)), locations=sorted(set(scope.locations)))
    asked = {"scope": _json(same), "repair": repair, "asked_by": asked_by}
    cursor = await connection.execute(_REQUEST, asked)
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101  # what was inserted is returned
    return _reconciliation(row)


async def asked_before(ledger: Ledger, keyed: Keyed) -> Reconciliation | None:
    """The run that was asked for under this key; None if there is none."""
    async with ledger.connection() as connection:
        run_id = await kept_result(connection, keyed)
    return None if run_id is None else await get(ledger, int(run_id))


async def waiting(ledger: Ledger) -> int:
    """How many runs still wait for a worker."""
    query = "SELECT count(*) FROM reconciliations WHERE status = 'requested'"
    return int((await ledger.rows(query))[0][0])


async def unknown(ledger: Ledger, scope: Scope) -> Scope:
    """The part of the scope that neither master data nor a level has."""
    skus = await ledger.rows(_UNKNOWN_SKUS, {"asked": scope.skus})
    locations = await ledger.rows(_UNKNOWN_LOCATIONS, {"asked": scope.locations})
    unknown_skus = {sku for (sku,) in skus}
    unknown_locations = {location for (location,) in locations}
    return Scope(
        skus=[sku for sku in scope.skus if sku in unknown_skus],
        locations=[location for location in scope.locations if location in unknown_locations],
    )


async def page(ledger: Ledger, *, before: int | None, limit: int) -> list[Reconciliation]:
    """Runs, the newest first, of those with ids below `before`."""
    rows = await ledger.rows(_PAGE, {"before": before, "limit": limit})
    return [_reconciliation(row) for row in rows]


async def get(ledger: Ledger, run_id: int) -> Reconciliation | None:
    """The run; None if there is none of this id."""
    rows = await ledger.rows(_ONE, {"id": run_id})
    return _reconciliation(rows[0]) if rows else None


async def any_to_do(ledger: Ledger) -> bool:
    """Whether a run waits to be taken, or was left running."""
    query = "SELECT FROM reconciliations WHERE status IN ('requested', 'running') LIMIT 1"
    return bool(await ledger.rows(query))


async def seconds_since_whole(ledger: Ledger) -> float | None:
    """How long ago a run without a scope was last asked for; None if never."""
    rows = await ledger.rows(
        """
        SELECT extract(epoch FROM clock_timestamp() - requested_at)::float
        FROM reconciliations
        WHERE scope = '{"skus": [], "locations": []}'
        ORDER BY id DESC
        LIMIT 1
        """
    )
    return float(rows[0][0]) if rows else None


class Lease:
    """The right to reconcile. A holder that was frozen finds it gone: `Unavailable`."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def take(self) -> Reconciliation | None:
        """The next run that was asked for; those that others left running have failed."""
        await self._execute(_BREAK_OFF, {"reason": BROKEN_OFF})
        row = await (await self._execute(_TAKE)).fetchone()
        return None if row is None else _reconciliation(row)

    async def hold(self) -> None:
        """Make sure that it is still ours."""
        await self._execute("SELECT")

    async def report(self, run_id: int, report: Report) -> None:
        """Keep the progress of the run."""
        await self._execute(_REPORT, {"id": run_id, "report": _json(report)})

    async def finish(self, run_id: int, report: Report) -> None:
        """The run is over; with a reason it has failed."""
        status = "done" if report.reason is None else "failed"
        await self._execute(_FINISH, {"id": run_id, "status": status, "report": _json(report)})

    async def _execute(
        self, statement: str, values: Mapping[str, Any] | None = None
    ) -> AsyncCursor[TupleRow]:
        with unavailable_when_away():
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    return await self._connection.execute(statement.encode(), values)
            except TimeoutError as hung:
                raise Unavailable("Postgres does not answer") from hung


@asynccontextmanager
async def lease(url: str) -> AsyncIterator[Lease | None]:
    """The right to reconcile, on a connection of its own; None while another has it."""
    async with leased(
        url, "reconcile", _ALL_PARTITIONS, statement_seconds=SILENCE_SECONDS
    ) as connection:
        yield None if connection is None else Lease(connection)


def _json(document: Struct) -> Jsonb:
    return Jsonb(document, dumps=as_json)


def _reconciliation(row: TupleRow) -> Reconciliation:
    fields = zip(Reconciliation.__struct_fields__, row, strict=True)
    return msgspec.convert(dict(fields), Reconciliation)
