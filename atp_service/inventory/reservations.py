"""Reservations as Redis keeps them: short msgpack arrays; an absent text is the empty one."""

from typing import Literal

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

Status = Literal["held", "confirmed", "fulfilled", "released", "expired"]
ConfirmOutcome = Literal["", "kept", "reacquired"]


class Line(Struct, array_like=True, gc=False):
    """One line. `lapsed` is what it held when its deadline passed: what a late confirm takes."""

    line_id: str
    sku: str
    location: str
    quantity: int
    reserved: int = 0
    allocated: int = 0
    fulfilled: int = 0
    released: int = 0
    safety_stock: int = 0
    lapsed: int = 0

    @property
    def open(self) -> int:
        return self.reserved + self.allocated


class Standing(Struct, array_like=True, gc=False):
    """How a reservation's image begins. Read alone in a quarter of the time; times are Unix
    milliseconds, 0 is none. Redis keeps a closed reservation until `kept_until`.
    """

    status: Status
    generation: int
    channel: str
    customer_id: str
    order_id: str
    created_at: int
    expires_at: int
    closed_at: int
    kept_until: int


class Reservation(Standing, gc=True):
    """Lines held together. `seq` is its latest entry."""

    fingerprint: str
    outcome: ConfirmOutcome
    seq: int
    lines: list[Line]


class Order(Struct, array_like=True):
    """Which reservations an order has, and units sold for it before it was confirmed.

    `early` are SKU, location and units. `kept_until` is 0 once there is a reservation: then those
    decide how long Redis keeps the order.
    """

    reservations: list[str]
    early: list[tuple[str, str, int]]
    kept_until: int = 0


decode_reservation = Decoder(Reservation).decode
decode_standing = Decoder(Standing).decode
encode_reservation = Encoder().encode  # the bytes that the script packs
decode_order = Decoder(Order).decode
