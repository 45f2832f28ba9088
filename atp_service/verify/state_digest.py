"""The whole state in 64 characters: what can be sold, what is promised, what is on its way.

Two instances with the same stock have the same digest, however they came to it: epochs, versions
and the times at which things were entered are not in it.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from atp_service.inventory.journal import LEVEL, RESERVATION
from atp_service.inventory.reservations import decode_reservation
from atp_service.inventory.stock import decode_level
from atp_service.verify.folded_state import LastImage

_encode = msgspec.msgpack.Encoder(order="sorted").encode


def digest(states: Sequence[Mapping[str, LastImage]]) -> str:
    """SHA-256 over all levels and open reservations of all partitions, each by name. `states` are
    the last images of each partition."""
    whole = sha256()
    for kind, prefix, value_of in (
        (LEVEL, "levels", _level),
        (RESERVATION, "reservations", _reservation),
    ):
        kept = {
            name: image
            for images in states
            for name, (_, image, in_redis) in images.items()
            if in_redis and name[0] == kind
        }
        for name in sorted(kept):
            values = value_of(kept[name])
            if values is not None:
                whole.update(_encode((prefix, name[1:], values)))
    return whole.hexdigest()


def _level(image: bytes) -> object:
    level = decode_level(image)
    extras = level.extras
    documents = {
        name: (d.expected, d.shipped, d.received, d.eta, d.expected_at, d.transfer)
        for name, d in extras.documents.items()
    }
    return (
        *(level.on_hand, level.reserved, level.allocated),
        *(extras.counted_at, extras.safety_stock, extras.states, documents),
    )


def _reservation(image: bytes) -> object:
    reservation = decode_reservation(image)
    if reservation.status not in ("held", "confirmed"):
        return None
    return (
        *(reservation.status, reservation.generation, reservation.channel),
        *(reservation.customer_id, reservation.order_id, reservation.outcome),
        *(reservation.expires_at, reservation.lines),
    )
