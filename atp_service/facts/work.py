"""An event on its way from its arrival to its result."""

from typing import Literal

from msgspec import Struct

from atp_service.facts.arrival import Arrival
from atp_service.facts.canonical_events import AnyEvent, Sale, Shipment, Unfit, names_sent
from atp_service.inventory.commands import Fact, Park, Snapshot
from atp_service.inventory.entry_ref import EntryRef

Status = Literal["applied", "duplicate", "absorbed", "parked", "rejected", "waiting"]


class EventResult(Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of an event. `waiting`: it can't be decided now; a retry decides it.

    `source` and `id` are as they were sent, None if they are no texts. `entry` is the one that it
    left just now. `known_as` is the source and id of its entry, and `shipment_id` the shipment
    whose entry stands for a duplicate without one.
    """

    source: str | None
    id: str | None
    status: Status
    reason: str | None = None
    detail: str | None = None
    entry: EntryRef | None = None
    known_as: tuple[str, str] = ("", "")
    shipment_id: str | None = None


class Unresolved(Struct, frozen=True):
    """Memory does not have all names of the event."""


class Ready(Struct, frozen=True, gc=False):
    """A command to apply.

    `line`: the line that the end of a snapshot carries. `undated`: the event has no time of its
    own, so that it may be of any age.
    """

    command: Fact
    line: Snapshot | None = None
    undated: bool = False


class Work(Struct, eq=False, gc=False):
    """One event of an arrival, and how far it is."""

    arrival: Arrival
    event: AnyEvent | Unfit
    state: Unresolved | Ready | EventResult

    @property
    def command(self) -> Fact:
        """The command of a work that is ready."""
        assert isinstance(self.state, Ready)  # noqa: S101 – a work ends once
        return self.state.command

    @property
    def result(self) -> EventResult:
        """The result of a work that has ended."""
        assert isinstance(self.state, EventResult)  # noqa: S101 – each work ends
        return self.state

    @property
    def is_waiting(self) -> bool:
        return isinstance(self.state, EventResult) and self.state.status == "waiting"

    def end(self, status: Status, reason: str | None = None, entry: EntryRef | None = None) -> None:
        """Give it its result. Its command is ready until then."""
        command = self.command
        known_as = command.source, command.event_id
        sent: tuple[str | None, str | None] = known_as
        detail = None
        if isinstance(command, Park):
            sent = names_sent(self.arrival.payload)
            if reason is None:
                reason, detail = command.reason, command.detail
        shipment_id = None
        if status == "duplicate" and isinstance(self.event, (Sale, Shipment)):
            shipment_id = self.event.data.shipment_id
        self.state = EventResult(*sent, status, reason, detail, entry, known_as, shipment_id)
