"""Raw values of Redis: decoded if they can be, and as a report shows them."""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.msgpack import Decoder

from atp_service.inventory.journal import UNREADABLE
from atp_service.inventory.reservations import Order, Reservation, decode_order, decode_reservation
from atp_service.inventory.stock import StockLevel, decode_level
from atp_service.ledger.write.repair_words import named

_SHOWN_BYTES = 64  # of an unreadable value

T = TypeVar("T")


def _lenient(decode: Callable[[bytes], T]) -> Callable[[bytes | None], T | None]:
    """Decodes a raw value; None for no value, or one that can't be read."""

    def read(image: bytes | None) -> T | None:
        try:
            return None if image is None else decode(image)
        except UNREADABLE:
            return None

    return read


read_level = _lenient(decode_level)
read_reservation = _lenient(decode_reservation)
read_order = _lenient(decode_order)
_read_list = _lenient(Decoder(list[str]).decode)
_read_text = _lenient(bytes.decode)


def read_locations(image: bytes | None) -> list[str] | None:
    """A SKU's list of locations, empty if there is none; None if it can't be read, or has a name
    that Postgres can't hold."""
    known = [] if image is None else _read_list(image)
    return None if known is None or any("\0" in location for location in known) else known


def read_name(raw: bytes) -> str | None:
    """The name; None if it is no text that commands and Postgres can hold."""
    return None if b"\0" in raw else _read_text(raw)


def shown(image: bytes | None, value: StockLevel | Reservation | Order | None) -> Any:
    """The value with its fields' names; the first bytes of an unreadable one; null for none."""
    if value is not None:
        return named(value)
    return None if image is None else {"unreadable": image[:_SHOWN_BYTES].hex()}
