"""Verification of a ledger, from the first entry to the verdict.

The ledger is read as of one moment: every entry of every partition, then the tables that must
follow from all of them together. Redis is compared afterwards, if it is asked for.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from psycopg import Connection

from atp_service.ledger import Ledger, Position
from atp_service.ledger.read import raw_entries
from atp_service.postgres.unavailable import Unavailable, unavailable_when_away
from atp_service.store import Fenced, Store
from atp_service.store import Unavailable as RedisUnavailable
from atp_service.verify import (
    exception_rows,
    orphan_rows,
    projection_tables,
    promise_totals,
    redis_comparison,
)
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.findings import Findings
from atp_service.verify.progress import Progress
from atp_service.verify.state_digest import digest
from atp_service.verify.verdict import Verdict

_LAST = 2**63 - 1


class Verification:
    """One run, as a context: `walk_ledger`, then `compare_redis` if wanted, then `verdict`.

    `window_ms` is how long closed reservations are remembered. With `execute` each command is
    executed once more by the model; without, its images are held against those before them.
    """

    def __init__(
        self, database_url: str, window_ms: int, progress: Progress, *, execute: bool = False
    ) -> None:
        self._database_url = database_url
        self._window_ms = window_ms
        self._progress = progress
        self._execute = execute
        self._began = time.monotonic()
        self._closing = ExitStack()
        self._connection: Connection | None = None
        self._walks: dict[int, EntryWalk] = {}
        self._findings = Findings()
        self._rows = 0
        self._values = 0
        self._entries_per_second = 0
        self._not_compared: str | None = "not asked for"

    def walk_ledger(self) -> None:
        """Every entry of every partition, and the tables beside them. Raises Unavailable."""
        progress = self._progress
        with _without_collector(), unavailable_when_away():
            connection = self._closing.enter_context(raw_entries.connect(self._database_url))
            self._connection = connection
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            positions = raw_entries.positions(connection)
            partitions = raw_entries.partitions(connection)
            for partition in partitions:
                if partition not in positions:
                    words = f"partition {partition} has entries and no position"
                    self._findings.add("position", words)
            progress.begin(sum(position.seq for position in positions.values()))
            for partition, position in positions.items():
                walk = EntryWalk(partition, self._window_ms, execute=self._execute)
                walk.go_on(connection, _LAST, progress.walked)
                self._walks[partition] = walk
                self._compare_tables(connection, walk, position)
            orphan_rows.find(connection, [*positions, *partitions], self._findings)
            connection.execute("COMMIT")
        entries = sum(walk.entries for walk in self._walks.values())
        self._entries_per_second = round(entries / (time.monotonic() - self._began))

    async def compare_redis(self, store: Store, ledger: Ledger) -> None:
        """Redis beside the folded state. If Redis or the recorder is away, the verdict says so."""
        self._progress.stage("Redis")
        self._not_compared = None
        try:
            for partition in store.partitions:
                walk = self._walks.get(partition.number)
                if walk is None:
                    continue
                assert self._connection is not None  # noqa: S101  # something was walked
                comparison = redis_comparison.RedisComparison(
                    walk, self._connection, partition, ledger
                )
                self._values += await comparison.run(self._findings)
        except (Fenced, RedisUnavailable, Unavailable) as fault:
            self._not_compared = str(fault) or type(fault).__name__

    def verdict(self) -> Verdict:
        """All findings, and what was looked at."""
        findings, repairs = Findings(), dict[str, int]()
        for walk in self._walks.values():
            findings.extend(walk.findings)
            repairs |= walk.repairs
        findings.extend(self._findings)
        findings.mark_repaired(repairs)
        standing = [finding for finding in findings.first if finding.repaired_by is None]
        named = [finding for finding in standing if finding.seq is not None]
        found = sum(findings.counts.values())
        return Verdict(
            holds=findings.standing == 0,
            executed=self._execute,
            entries=sum(walk.entries for walk in self._walks.values()),
            through={partition: walk.chain.seq for partition, walk in self._walks.items()},
            rows=self._rows,
            redis=self._values,
            redis_not_compared=self._not_compared,
            first=min(named, key=lambda finding: finding.seq or 0)
            if named
            else next(iter(standing), None),
            found=found,
            repaired=found - findings.standing,
            by_check=findings.counts,
            findings=findings.first,
            digest=digest([walk.state.images for walk in self._walks.values()]),
            seconds=round(time.monotonic() - self._began, 3),
            entries_per_second=self._entries_per_second,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _compare_tables(self, connection: Connection, walk: EntryWalk, position: Position) -> None:
        """The tables that must follow from a partition's entries."""
        self._progress.stage("projections")
        partition, findings, state = walk.partition, walk.findings, walk.state
        wrong = walk.chain.ends_at(position)
        if wrong:
            detail = f"the position of partition {partition}: {', '.join(wrong)}"
            findings.add("position", detail, walk.chain.seq)
        self._rows += walk.compare_appended(connection)
        self._rows += projection_tables.compare(connection, state, findings)
        promise_totals.compare(state, findings)
        self._rows += exception_rows.compare(connection, partition, walk.exception_steps, findings)


@contextmanager
def _without_collector() -> Iterator[None]:
    """The folded state stays and has no reference cycles: collecting would only cost time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
