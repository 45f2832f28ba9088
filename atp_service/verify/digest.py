"""The whole state in 64 characters: what can be sold, what is promised, what is on its way.

Two instances with the same stock have the same digest, however they came to it: epochs, versions
and the times at which things were entered are not in it.
"""

from hashlib import sha256

import msgspec

from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel
from atp_service.verify.state import State

_encode = msgspec.msgpack.Encoder(order="sorted").encode


def digest(states: list[State]) -> str:
    """SHA-256 over all levels and open reservations of all partitions, each by name."""
    whole = sha256()
    for prefix, told in (("levels", _level), ("reservations", _reservation)):
        kept = {
            name: value
            for state in states
            for name, value in getattr(state.partition, prefix).items()
        }
        for name in sorted(kept):
            values = told(kept[name])
            if values is not None:
                whole.update(_encode((prefix, name, values)))
    return whole.hexdigest()


def _level(level: StockLevel) -> object:
    extras = level.extras
    documents = {
        name: (d.expected, d.received, d.eta, d.expected_at, d.transfer)
        for name, d in extras.documents.items()
    }
    return (
        *(level.on_hand, level.reserved, level.allocated),
        *(extras.counted_at, extras.safety_stock, extras.states, documents),
    )


def _reservation(reservation: Reservation) -> object:
    if reservation.status not in ("held", "confirmed"):
        return None
    return (
        *(reservation.status, reservation.generation, reservation.channel),
        *(reservation.customer_id, reservation.order_id, reservation.outcome),
        *(reservation.expires_at, reservation.lines),
    )
