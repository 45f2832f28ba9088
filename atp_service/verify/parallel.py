"""A second process, which walks the first entries of a long ledger while this one walks the rest.

This process folds the first entries without checking them. So it has the whole state in the end,
and the second process reports only what it has found.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe

from msgspec import Struct

from atp_service.ledger.read import raw_entries
from atp_service.postgres.unavailable import Unavailable, unavailable_when_away
from atp_service.verify.entry_walk import EntryWalk, Faults, OnProgress
from atp_service.verify.findings import Findings
from atp_service.verify.progress import Progress

NewWalk = Callable[[], EntryWalk]


class FirstPart(Struct):
    """The second process's results: entries walked, rows compared, and what was found."""

    entries: int
    rows: int
    findings: Findings
    faults: Faults


class SecondProcess:
    """Walks the first part of one partition after the other."""

    def __init__(self, pipe: Pipe, progress: Progress) -> None:
        self._pipe = pipe
        self._progress = progress
        self._result: FirstPart | None = None

    def walk(self, database_url: str, snapshot: str, new_walk: NewWalk, through: int) -> None:
        """Begin a new walk from the first entry up to the seq `through`, as of a snapshot."""
        self._pipe.send((database_url, snapshot, new_walk, through))

    def pass_progress_on(self) -> None:
        """Takes the process's messages so far, so that it never waits. Raises Unavailable."""
        while self._result is None and self._pipe.poll():
            self._receive()

    def result(self) -> FirstPart:
        """Waits for the end of the walk. Raises Unavailable."""
        while self._result is None:
            self._receive()
        result, self._result = self._result, None
        return result

    def _receive(self) -> None:
        try:
            message = self._pipe.recv()
        except EOFError:
            raise Unavailable("the process that walked the first entries has ended") from None
        if isinstance(message, str):
            raise Unavailable(message)
        if isinstance(message, int):
            self._progress.walked(message)
        else:
            self._result = message


@contextmanager
def second_process(progress: Progress) -> Iterator[SecondProcess]:
    """The process, while the context is open. Open it before anything is connected: the process
    is forked, since a fresh one would import modules for as long as 50,000 entries take."""
    forking = get_context("fork")
    ours, theirs = forking.Pipe()
    process = forking.Process(target=_serve, args=(ours, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield SecondProcess(ours, progress)
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(parents: Pipe, pipe: Pipe) -> None:
    """Until the parent ends, in whatever way: then its end of the pipe is closed."""
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with suppress(EOFError, BrokenPipeError):
        while True:
            try:
                pipe.send(_walk_first(pipe.send, *pipe.recv()))
            except Unavailable as fault:
                pipe.send(str(fault))


def _walk_first(
    report: OnProgress, database_url: str, snapshot: str, new_walk: NewWalk, through: int
) -> FirstPart:
    walk = new_walk()
    with raw_entries.connect(database_url) as connection, unavailable_when_away():
        raw_entries.take_over_snapshot(connection, snapshot)
        walk.go_on(connection, through, report)
        rows = walk.compare_appended(connection)
        return FirstPart(walk.entries, rows, walk.findings, walk.faults())
