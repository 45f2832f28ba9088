"""A range of entries and all that follows from it alone, by this process or by one of its own."""

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe

import msgspec
from msgspec import Struct
from psycopg import Connection

from atp_service.ledger import Unavailable
from atp_service.ledger.read import raw_entries
from atp_service.postgres.unavailable import unavailable_when_away
from atp_service.verify import projection_tables
from atp_service.verify.entry_walk import Range, Tell, Walk
from atp_service.verify.exception_rows import Told
from atp_service.verify.fast_fold import First, Fold
from atp_service.verify.findings import Findings
from atp_service.verify.hash_chain import Links
from atp_service.verify.progress import Progress
from atp_service.verify.promise_totals import Units, units_of

Images = dict[str, tuple[int, bytes]]


class Walked(Struct):
    """What the entries of a range came to: `images` of what they touched, the rest as in Fold."""

    entries: int
    rows: int
    findings: Findings
    links: Links
    images: Images
    firsts: dict[str, First]
    drift: dict[str, int]
    repairs: dict[str, int]
    early_until: dict[str, int]
    at_ms: int
    told: list[Told]


class Promises(Struct):
    """Reservations and orders beside their rows: how many, what was found, what units they hold,
    and the names of those that can't be read."""

    rows: int
    findings: Findings
    units: Units
    unreadable: list[str]


def walked(connection: Connection, span: Range, tell: Tell) -> tuple[Walked, Walk | Fold]:
    """Walk a range; and who has done so, to go on."""
    walker: Walk | Fold = Walk(span) if span.execute else Fold(span)
    walker.begin(connection)
    walker.go_on(connection, span.through, tell)
    rows = walker.appended.compare(connection, span.through, walker.findings)
    if isinstance(walker, Walk):
        walker.close()
        state = walker.state
        images = {name: of for name, of in state.images.items() if of[0] > span.after}
        early_until, at_ms, firsts = state.early_until, state.at_ms, {}
    else:
        images, firsts = walker.images, walker.firsts
        early_until, at_ms = walker.early_until, walker.at_ms
    return (
        Walked(
            entries=walker.entries,
            rows=rows,
            findings=walker.findings,
            links=walker.links,
            images=images,
            firsts=firsts,
            drift=walker.drift,
            repairs=walker.repairs,
            early_until=early_until,
            at_ms=at_ms,
            told=walker.noticed.told,
        ),
        walker,
    )


def promises_of(connection: Connection, rows: projection_tables.Rows, images: Images) -> Promises:
    """The reservations and orders among the images."""
    findings = Findings()
    compared = projection_tables.compare_promises(connection, rows, images, findings)
    return Promises(compared, findings, *units_of(images, findings))


_encode = msgspec.msgpack.Encoder().encode
_decode_walked = msgspec.msgpack.Decoder(Walked).decode
_decode_promises = msgspec.msgpack.Decoder(Promises).decode


class Apart:
    """A process of its own, that walks one range after the other."""

    def __init__(self, pipe: Pipe, progress: Progress) -> None:
        self._pipe = pipe
        self._progress = progress
        self._said: list[bytes] = []

    def walk(self, span: Range, snapshot: str) -> None:
        """Let it walk a range, as of a snapshot; both of its results must be taken."""
        self._pipe.send((span, snapshot))

    def look(self) -> None:
        """Pass on how far it is."""
        while not self._said and self._pipe.poll():
            self._take()

    def walked(self) -> Walked:
        """Waits until it has walked its range."""
        return _decode_walked(self._next())

    def promises(self) -> Promises:
        """Waits until it has compared the promises that its range touched last."""
        return _decode_promises(self._next())

    def _next(self) -> bytes:
        while not self._said:
            self._take()
        return self._said.pop(0)

    def _take(self) -> None:
        """One message: how many entries more, what went wrong, or a result."""
        try:
            said = self._pipe.recv()
        except EOFError:
            raise Unavailable("the process that walked the later entries has ended") from None
        if isinstance(said, str):
            raise Unavailable(said)
        if isinstance(said, int):
            self._progress.walked(said)
        else:
            self._said.append(said)


@contextmanager
def apart(progress: Progress) -> Iterator[Apart]:
    """A process that waits for a range. To be asked for before anything is connected: it is forked,
    since one that begins anew would read modules for as long as 50,000 entries take."""
    forking = get_context("fork")
    ours, theirs = forking.Pipe()
    process = forking.Process(target=_walk_apart, args=(ours, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Apart(ours, progress)
    finally:
        process.kill()
        process.join()
        ours.close()


def _walk_apart(parents: Pipe, pipe: Pipe) -> None:
    """Until the parent ends, however that comes about: then nobody has its end of the pipe."""
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    with suppress(EOFError, BrokenPipeError):
        while True:
            span, snapshot = pipe.recv()
            _walk_for(span, snapshot, pipe)


def _walk_for(span: Range, snapshot: str, pipe: Pipe) -> None:
    try:
        with (
            raw_entries.connect(span.database_url) as connection,
            unavailable_when_away(),
            without_collector(),
        ):
            raw_entries.take_over_snapshot(connection, snapshot)
            outcome, _ = walked(connection, span, pipe.send)
            pipe.send(_encode(outcome))
            rows = projection_tables.Rows(span.partition, span.after, None)
            pipe.send(_encode(promises_of(connection, rows, outcome.images)))
    except Unavailable as fault:
        pipe.send(str(fault))


@contextmanager
def without_collector() -> Iterator[None]:
    """What is folded stays, and is in no circles: looking through it again and again costs much."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
