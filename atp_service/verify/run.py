"""Verifying, from the first entry to the verdict.

A long ledger is walked by two processes, each a range of it: the second takes over what the first
range's entries came to, and the first shows that they did.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Protocol, Self

from msgspec import Struct
from psycopg import Connection

from atp_service.ledger import Ledger, Position, Unavailable, chain
from atp_service.ledger.unavailable import unavailable_when_away
from atp_service.store import Fenced, Store
from atp_service.store import Unavailable as RedisUnavailable
from atp_service.verify import live, projected
from atp_service.verify.digest import digest
from atp_service.verify.findings import Findings
from atp_service.verify.verdict import Verdict
from atp_service.verify.walk import Range, Walk

# The second range is the shorter: its process folds the first before.
FIRST_SHARE = 0.55
WORTH_TWO = 50_000  # entries: of fewer, starting a process takes longer than walking them


class Progress(Protocol):
    """Who watches."""

    def begin(self, entries: int) -> None: ...

    def walked(self, entries: int) -> None: ...

    def stage(self, name: str) -> None: ...


class _Walked(Struct):
    """What the process that walked the first range has found."""

    entries: int
    rows: int
    findings: Findings
    drift: dict[str, int]
    repairs: dict[str, int]


class Verification:
    """Asked in this order: walk the ledger, compare Redis if wanted, the verdict."""

    def __init__(
        self, database_url: str, window_ms: int, progress: Progress, *, worth_two: int = WORTH_TWO
    ) -> None:
        self._database_url = database_url
        self._window_ms = window_ms
        self._progress = progress
        self._worth_two = worth_two
        self._began = time.monotonic()
        self._closing = ExitStack()
        self._connection: Connection | None = None
        self._walks: dict[int, Walk] = {}
        self._earlier: list[_Walked] = []
        self._findings = Findings()
        self._rows = 0
        self._values = 0
        self._seconds = 0.0
        self._not_compared: str | None = "not asked for"

    def walk_ledger(self) -> None:
        """Every entry of every partition, and what follows from them. Raises Unavailable."""
        self._connection = self._closing.enter_context(chain.connect(self._database_url))
        positions = chain.positions(self._connection)
        for partition in chain.partitions(self._connection):
            if partition not in positions:
                self._findings.add("position", f"partition {partition} has entries and none")
        self._progress.begin(sum(position.seq for position in positions.values()))
        with unavailable_when_away():
            for partition, position in positions.items():
                self._walk_partition(self._connection, partition, position)
        self._seconds = time.monotonic() - self._began

    async def compare_redis(self, store: Store, ledger: Ledger) -> None:
        """Redis beside the fold, as of one entry or a few later ones."""
        self._progress.stage("Redis")
        self._not_compared = None
        try:
            for partition, walk in self._walks.items():
                assert self._connection is not None  # noqa: S101  # there are walks
                comparison = live.Comparison(walk, self._connection, store, ledger, partition)
                self._values += await comparison.run(self._findings)
        except (Fenced, RedisUnavailable, Unavailable) as fault:
            self._not_compared = str(fault) or type(fault).__name__

    def verdict(self) -> Verdict:
        """What all of it came to."""
        findings, repairs = Findings(), dict[str, int]()
        entries = 0
        walks: list[_Walked | Walk] = [*self._earlier, *self._walks.values()]
        for walked in walks:
            findings.take(walked.findings)
            repairs |= walked.repairs
            entries += walked.entries
        findings.take(self._findings)
        findings.mark_repaired(repairs)
        standing = [finding for finding in findings.kept if finding.repaired_by is None]
        named = [finding for finding in standing if finding.seq is not None]
        found = sum(findings.counts.values())
        return Verdict(
            holds=findings.standing == 0,
            entries=entries,
            through={partition: walk.links.seq for partition, walk in self._walks.items()},
            rows=self._rows,
            redis=self._values,
            redis_not_compared=self._not_compared,
            first=min(named, key=lambda finding: finding.seq or 0)
            if named
            else next(iter(standing), None),
            found=found,
            repaired=found - findings.standing,
            by_check=findings.counts,
            findings=findings.kept,
            digest=digest([walk.state for walk in self._walks.values()]),
            seconds=round(time.monotonic() - self._began, 3),
            entries_per_second=round(entries / self._seconds) if self._seconds else 0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for walk in self._walks.values():
            walk.close()
        self._closing.close()

    def _walk_partition(self, connection: Connection, partition: int, position: Position) -> None:
        after = int(position.seq * FIRST_SHARE) if position.seq >= self._worth_two else 0
        span = Range(
            database_url=self._database_url,
            partition=partition,
            after=0,
            through=after,
            window_ms=self._window_ms,
        )
        with _apart(span, self._progress) as first:
            walk = Walk(
                Range(
                    database_url=self._database_url,
                    partition=partition,
                    after=after,
                    through=position.seq,
                    window_ms=self._window_ms,
                )
            )
            self._walks[partition] = walk
            walk.begin(connection)
            walk.go_on(connection, position.seq, first.tell)
            drift = walk.state.drift
            walked = first.result()
            if walked is not None:
                self._earlier.append(walked)
                self._rows += walked.rows
                for name, units in walked.drift.items():
                    drift[name] = drift.get(name, 0) + units
        self._compare_projections(connection, partition, walk)

    def _compare_projections(self, connection: Connection, partition: int, walk: Walk) -> None:
        """All of it as of one position, whatever is recorded meanwhile."""
        self._progress.stage("projections")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        position = chain.positions(connection)[partition]
        walk.go_on(connection, position.seq, self._progress.walked)
        wrong = walk.links.ends_at(position)
        if wrong:
            detail = f"the position of partition {partition}: {', '.join(wrong)}"
            walk.findings.add("position", detail, walk.links.seq)
        self._rows += walk.compare_appended(connection)
        self._rows += projected.compare(
            connection, partition, walk.state, walk.state.drift, walk.findings
        )
        connection.execute("COMMIT")
        walk.state.earlier = {}


class _Apart:
    """A range that is walked by a process of its own."""

    def __init__(self, pipe: Pipe | None, progress: Progress) -> None:
        self._pipe = pipe
        self._progress = progress
        self._walked: _Walked | None = None

    def tell(self, entries: int) -> None:
        """Our own entries; and those that the other has walked meanwhile."""
        self._progress.walked(entries)
        while self._pipe is not None and self._pipe.poll():
            if self._take(self._pipe):
                break

    def result(self) -> _Walked | None:
        """Waits until it is done; None if there was nothing to walk apart."""
        while self._pipe is not None:
            self._take(self._pipe)
        return self._walked

    def _take(self, pipe: Pipe) -> bool:
        """One message: how many entries more, or in the end the result."""
        try:
            said = pipe.recv()
        except EOFError:
            raise Unavailable("the process that walked the first entries has ended") from None
        if isinstance(said, int):
            self._progress.walked(said)
            return False
        self._pipe = None
        if isinstance(said, str):
            raise Unavailable(said)
        self._walked = said
        return True


@contextmanager
def _apart(span: Range, progress: Progress) -> Iterator[_Apart]:
    if not span.through:
        yield _Apart(None, progress)
        return
    # A process that begins anew: nothing of ours (threads, locks, connections) is carried over.
    spawning = get_context("spawn")
    ours, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_walk_apart, args=(span, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _Apart(ours, progress)
    finally:
        process.kill()
        process.join()
        ours.close()


def _walk_apart(span: Range, pipe: Pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    try:
        with chain.connect(span.database_url) as connection, unavailable_when_away():
            walk = Walk(span)
            walk.begin(connection)
            walk.go_on(connection, span.through, pipe.send)
            rows = walk.compare_appended(connection)
            walk.close()
    except Unavailable as fault:
        pipe.send(str(fault))
        return
    pipe.send(_Walked(walk.entries, rows, walk.findings, walk.state.drift, walk.repairs))
