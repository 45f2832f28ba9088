"""Verifying, from the first entry to the verdict.

Everything is read as of one moment. A long ledger is walked by two processes, each a range of it;
then what both came to is joined, and compared with what must follow from all of it.
"""

import time
from contextlib import ExitStack
from typing import Self

from psycopg import Connection

from atp_service.ledger import Ledger, Position
from atp_service.ledger.read import raw_entries
from atp_service.postgres import Unavailable
from atp_service.postgres.unavailable import unavailable_when_away
from atp_service.store import Fenced, Store
from atp_service.store import Unavailable as RedisUnavailable
from atp_service.verify import (
    exception_rows,
    orphan_rows,
    projection_tables,
    promise_totals,
    redis_comparison,
)
from atp_service.verify.entry_walk import Range, Walk
from atp_service.verify.fast_fold import Fold
from atp_service.verify.findings import Findings
from atp_service.verify.parallel import (
    Apart,
    Promises,
    Walked,
    apart,
    promises_of,
    walked,
    without_collector,
)
from atp_service.verify.progress import Progress
from atp_service.verify.state_digest import digest
from atp_service.verify.verdict import Verdict

FIRST_SHARE = 0.48  # whoever walks the first range also joins both, and makes the digest
FIRST_SHARE_EXECUTED = 0.55  # the second process folds the first range before its own
WORTH_TWO = 50_000  # entries: of fewer, starting a process takes longer than walking them
_LAST = 2**63 - 1


class Verification:
    """Asked in this order: walk the ledger, compare Redis if wanted, the verdict.

    With `execute` each command is executed once more.
    """

    def __init__(
        self,
        database_url: str,
        window_ms: int,
        progress: Progress,
        *,
        execute: bool = False,
        worth_two: int = WORTH_TWO,
    ) -> None:
        self._database_url = database_url
        self._window_ms = window_ms
        self._progress = progress
        self._execute = execute
        self._worth_two = worth_two
        self._began = time.monotonic()
        self._closing = ExitStack()
        self._connection: Connection | None = None
        self._walked: dict[int, Walked] = {}
        self._tails: dict[int, Walk] = {}
        self._findings = Findings()
        self._values = 0
        self._seconds = 0.0
        self._not_compared: str | None = "not asked for"

    def walk_ledger(self) -> None:
        """Every entry of every partition, and what follows from them. Raises Unavailable."""
        with apart(self._progress) as other:
            self._walk_with(other)
        self._seconds = time.monotonic() - self._began

    def _walk_with(self, other: Apart) -> None:
        connection = self._closing.enter_context(raw_entries.connect(self._database_url))
        self._connection = connection
        snapshot = raw_entries.export_snapshot(connection)
        positions = raw_entries.positions(connection)
        partitions = raw_entries.partitions(connection)
        for partition in partitions:
            if partition not in positions:
                self._findings.add("position", f"partition {partition} has entries and none")
        self._progress.begin(sum(position.seq for position in positions.values()))
        with unavailable_when_away(), without_collector():
            for partition, position in positions.items():
                self._walked[partition] = self._walk(
                    connection, other, snapshot, partition, position
                )
            orphan_rows.find(connection, [*positions, *partitions], self._findings)
            connection.execute("COMMIT")

    async def compare_redis(self, store: Store, ledger: Ledger) -> None:
        """Redis beside the fold, as of one entry or a few later ones."""
        self._progress.stage("Redis")
        self._not_compared = None
        try:
            for partition in store.partitions:
                whole = self._walked.get(partition.number)
                if whole is None:
                    continue
                assert self._connection is not None  # noqa: S101  # something was walked
                tail = self._tails[partition.number] = self._tail(partition.number, whole)
                comparison = redis_comparison.Comparison(tail, self._connection, partition, ledger)
                self._values += await comparison.run(self._findings)
        except (Fenced, RedisUnavailable, Unavailable) as fault:
            self._not_compared = str(fault) or type(fault).__name__

    def verdict(self) -> Verdict:
        """What all of it came to."""
        findings, repairs = Findings(), dict[str, int]()
        parts: list[Walked | Walk] = [*self._walked.values(), *self._tails.values()]
        for part in parts:
            findings.take(part.findings)
            repairs |= part.repairs
        findings.take(self._findings)
        findings.mark_repaired(repairs)
        standing = [finding for finding in findings.kept if finding.repaired_by is None]
        named = [finding for finding in standing if finding.seq is not None]
        found = sum(findings.counts.values())
        ends = {partition: whole.links for partition, whole in self._walked.items()}
        images = {partition: whole.images for partition, whole in self._walked.items()}
        for partition, tail in self._tails.items():
            ends[partition], images[partition] = tail.links, tail.state.images
        entries = sum(whole.entries for whole in self._walked.values())
        return Verdict(
            holds=findings.standing == 0,
            executed=self._execute,
            entries=entries + sum(tail.entries for tail in self._tails.values()),
            through={partition: links.seq for partition, links in ends.items()},
            rows=sum(whole.rows for whole in self._walked.values()),
            redis=self._values,
            redis_not_compared=self._not_compared,
            first=min(named, key=lambda finding: finding.seq or 0)
            if named
            else next(iter(standing), None),
            found=found,
            repaired=found - findings.standing,
            by_check=findings.counts,
            findings=findings.kept,
            digest=digest(list(images.values())),
            seconds=round(time.monotonic() - self._began, 3),
            entries_per_second=round(entries / self._seconds) if self._seconds else 0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tail in self._tails.values():
            tail.close()
        self._closing.close()

    def _walk(
        self,
        connection: Connection,
        other: Apart,
        snapshot: str,
        partition: int,
        position: Position,
    ) -> Walked:
        """All of a partition, as of the snapshot."""
        if position.seq < self._worth_two:
            whole, _ = walked(connection, self._range(partition, 0, _LAST), self._progress.walked)
            rows = projection_tables.Rows(partition, None, _LAST)
            promises = [promises_of(connection, rows, whole.images)]
        else:
            share = FIRST_SHARE_EXECUTED if self._execute else FIRST_SHARE
            middle = int(position.seq * share)
            other.walk(self._range(partition, middle, _LAST), snapshot)
            whole, promises = self._walk_by_two(connection, other, partition, middle)
        self._compare_whole(connection, partition, position, whole, promises)
        return whole

    def _walk_by_two(
        self, connection: Connection, other: Apart, partition: int, middle: int
    ) -> tuple[Walked, list[Promises]]:
        def tell(entries: int) -> None:
            self._progress.walked(entries)
            other.look()

        whole, walker = walked(connection, self._range(partition, 0, middle), tell)
        rest = other.walked()
        self._progress.stage("projections")
        if isinstance(walker, Fold):
            walker.join(rest.firsts)
        # What no later entry has touched.
        own = {name: of for name, of in whole.images.items() if name not in rest.images}
        promises = promises_of(connection, projection_tables.Rows(partition, None, middle), own)
        _join(whole, rest)
        return whole, [promises, other.promises()]

    def _compare_whole(
        self,
        connection: Connection,
        partition: int,
        position: Position,
        whole: Walked,
        promises: list[Promises],
    ) -> None:
        """What follows from all entries together."""
        findings, images = whole.findings, whole.images
        wrong = whole.links.ends_at(position)
        if wrong:
            detail = f"the position of partition {partition}: {', '.join(wrong)}"
            findings.add("position", detail, whole.links.seq)
        for part in promises:
            whole.rows += part.rows
            findings.take(part.findings)
            for name in part.unreadable:  # who goes on from here would stumble over it
                del images[name]
        whole.rows += projection_tables.compare_levels(
            connection, partition, images, whole.drift, findings
        )
        promise_totals.compare(images, [part.units for part in promises], findings)
        whole.rows += exception_rows.compare(connection, partition, whole.told, findings)

    def _range(self, partition: int, after: int, through: int) -> Range:
        return Range(
            database_url=self._database_url,
            partition=partition,
            after=after,
            through=through,
            window_ms=self._window_ms,
            execute=self._execute,
        )

    def _tail(self, partition: int, whole: Walked) -> Walk:
        """Who walks on from here, entry by entry, keeping what was before."""
        tail = Walk(self._range(partition, whole.links.seq, _LAST))
        tail.links = whole.links
        tail.state.take_over(whole.images, whole.early_until, whole.at_ms)
        tail.state.earlier = {}
        return tail


def _join(whole: Walked, rest: Walked) -> None:
    """The range that follows, added to what came before it."""
    whole.entries += rest.entries
    whole.rows += rest.rows
    whole.findings.take(rest.findings)
    whole.links = rest.links
    whole.images.update(rest.images)
    for name, units in rest.drift.items():
        whole.drift[name] = whole.drift.get(name, 0) + units
    whole.repairs |= rest.repairs
    whole.early_until |= rest.early_until
    whole.at_ms = max(whole.at_ms, rest.at_ms)
    whole.told += rest.told
