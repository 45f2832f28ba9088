"""What the clients asked and were told: their own record, the audit's second witness."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from atp_service.rehearse.journey import Cart
from atp_service.rehearse.run_names import Goods

CallKind = Literal["browse", "hold", "change", "confirm", "sale", "receipt", "shipment"]
FACTS = ("sale", "receipt", "shipment")


class Call(Struct, array_like=True, kw_only=True, frozen=True):
    """One call, repeated until a definite answer came. Times are seconds from the start.

    `due` is when it was meant to be sent, `woken` when the generator got to it, `sent` when its
    first attempt went over the wire (0: none ever did), `answered` when the definite answer came.
    """

    kind: CallKind
    reference: str  # the reservation's id, or the event's
    cart: Cart
    phase: str
    due: float
    woken: float
    sent: float
    answered: float
    status: int  # 0: no definite answer ever came
    told: str = ""  # the reservation's status, the event's status, or the problem's type
    generation: int = 0
    faults: list[str] = []  # what came instead of an answer, attempt by attempt
    fault_times: list[float] = []

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        return self.status == 409

    @property
    def seconds(self) -> float:
        """The latency: from when it was due, not from when it could be sent."""
        return self.answered - self.due


class Second(Struct, array_like=True, frozen=True, kw_only=True):
    """The generator itself, over a second or so."""

    at: float
    cpu_share: float


class History(Struct, kw_only=True):
    """A whole run, as the clients saw it. `started_at` is Unix time; `clock_at` the same moment on
    the machine's monotonic clock. `received` are the units per SKU that the shop was stocked with,
    as the seeding was told."""

    goods: Goods
    started_at: float
    clock_at: float
    hold_seconds: int
    received: dict[str, int]
    calls: list[Call] = []
    seconds: list[Second] = []
    connections: int = 0


def write_history(history: History, path: Path) -> None:
    path.write_bytes(msgspec.msgpack.encode(history))


def read_history(path: Path) -> History:
    return msgspec.msgpack.decode(path.read_bytes(), type=History)
