"""A range of a partition's entries, walked in order: each one checked, executed, folded."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct
from psycopg import Connection

from atp_service.inventory.commands import AnyCommand, RepairLevel, RepairOrder, RepairReservation
from atp_service.inventory.stock import level_field
from atp_service.ledger import chain
from atp_service.verify.appended import Appended
from atp_service.verify.findings import Findings
from atp_service.verify.links import Links
from atp_service.verify.machine import Machine
from atp_service.verify.reading import called, read
from atp_service.verify.state import State

Tell = Callable[[int], None]  # how many entries more have been walked
TELL_EVERY = 1_000


class Range(Struct, frozen=True, kw_only=True):
    """The entries with after < seq <= through."""

    database_url: str
    partition: int
    after: int
    through: int
    window_ms: int


class Walk:
    """Walks on from the range's beginning, as far as it is told each time."""

    def __init__(self, span: Range) -> None:
        self.span = span
        self.findings = Findings()
        self.entries = 0
        self.state = State(span.window_ms)
        self.links = Links()
        self.repairs: dict[str, int] = {}
        self.appended = Appended(span.partition, span.after)
        self._earlier = chain.Earlier(span.database_url, span.partition)
        self._machine = Machine(self.state, self._earlier)

    def begin(self, connection: Connection) -> None:
        """Take over what the entries before the range came to: others look at how."""
        span = self.span
        if span.after:
            self.state.begin_after(chain.images_through(connection, span.partition, span.after))
            self.links = Links(chain.last_entry(connection, span.partition, span.after))

    def go_on(self, connection: Connection, through: int, tell: Tell) -> None:
        """Walk the entries that follow, through the one named."""
        told = self.entries
        with _without_collector():
            for row in chain.entries(connection, self.span.partition, self.links.seq, through):
                self.take(row)
                if self.entries - told >= TELL_EVERY:
                    tell(self.entries - told)
                    told = self.entries
        tell(self.entries - told)

    def compare_appended(self, connection: Connection) -> int:
        """Movements and events of the range beside its entries; how many rows there are."""
        return self.appended.compare(connection, self.links.seq, self.findings)

    def close(self) -> None:
        self._earlier.close()

    def take(self, row: chain.Row) -> None:
        """The next entry."""
        self.entries += 1
        add, seq = self.findings.add, row.seq
        reading, wrong = None, []
        try:
            reading = read(row)
        except ValueError as fault:
            wrong.append(f"can't be read ({fault})")
        missing = self.links.gap(row)
        if missing:
            add("chain", missing, min(seq, self.links.seq + 1))
            self.links.go_on_from(row)
        else:
            wrong += self.links.follow(row, reading)
        if wrong:
            name = called(reading) if reading else f"entry {seq}"
            add("chain", f"{name}: {', '.join(wrong)}", seq)
        if reading is None:
            return
        differences = self._machine.differences(reading)
        if differences:
            names = tuple(name for name, _ in differences if name)
            words = "; ".join(words for _, words in differences)
            add("model", f"{called(reading)}: {words}", seq, names)
        self.appended.add(reading)
        repaired = _repaired(reading.command)
        if repaired is not None:
            self.repairs[repaired] = seq
        if repaired is not None or not self._machine.followed_at_once:
            self.state.note_drift(reading)
        self.state.adopt(reading)


def _repaired(command: AnyCommand) -> str | None:
    """The name of the image that the command repairs, if it does."""
    match command:
        case RepairLevel(sku=sku, location=location):
            return f"l{level_field(sku, location)}"
        case RepairReservation(reservation_id=key):
            return f"r{key}"
        case RepairOrder(order_id=key):
            return f"o{key}"
    return None


@contextmanager
def _without_collector() -> Iterator[None]:
    """What is folded stays, and is in no circles: looking through it again and again costs much."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
