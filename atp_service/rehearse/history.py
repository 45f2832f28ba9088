"""The calls as the clients saw them: their own record, the audit's second witness."""

from typing import Literal

from msgspec import Struct

from atp_service.rehearse.journey import Cart
from atp_service.rehearse.run_names import RunNames

CallKind = Literal["browse", "hold", "change", "confirm", "sale", "receipt", "shipment"]
FACTS = ("sale", "receipt", "shipment")


class Call(Struct, array_like=True, kw_only=True, frozen=True):
    """One call, repeated until a definite answer came. Times are seconds from the start.

    `due` is when it was meant to be sent, `woken` when the generator reached it, `sent` when its
    first attempt went over the wire (0: none did), `answered` when the definite answer came.
    """

    kind: CallKind
    reference: str  # the reservation's id, or the event's
    cart: Cart
    phase: str = ""
    due: float = 0.0
    woken: float = 0.0
    sent: float = 0.0
    answered: float = 0.0
    status: int  # 0: no definite answer came
    outcome: str = ""  # the reservation's status, the event's status, or the problem's type
    generation: int = 0
    faults: list[str] = []  # of each attempt that was retried, a word
    fault_times: list[float] = []

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        return self.status == 409

    @property
    def seconds(self) -> float:
        """The latency: it counts from `due`, not from `sent`."""
        return self.answered - self.due


class History(Struct, kw_only=True):
    """A whole run. `started_at` is Unix time, `clock_at` the same moment on the machine's monotonic
    clock, `received` the units per SKU that the shop was stocked with, `cpu_shares` the generator's
    share of a core in each half of a second."""

    names: RunNames
    started_at: float
    clock_at: float
    hold_seconds: int
    received: dict[str, int]
    calls: list[Call] = []
    cpu_shares: list[float] = []
