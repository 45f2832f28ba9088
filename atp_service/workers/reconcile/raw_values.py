"""Raw values from Redis: read where they can be, and as people see them in a report."""

from typing import Any

import msgspec

from atp_service.inventory.reservations import (
    Order,
    Reservation,
    decode_order,
    decode_reservation,
)
from atp_service.inventory.stock import StockLevel, decode_level
from atp_service.ledger.write.repair_words import named

_SHOWN_BYTES = 64  # of what can't be read
_ILLEGIBLE = (msgspec.DecodeError, UnicodeDecodeError)
_decode_locations = msgspec.msgpack.Decoder(list[str]).decode


def level_in(image: bytes | None) -> StockLevel | None:
    """The level; None where there is nothing, or nothing readable. As the next two."""
    try:
        return None if image is None else decode_level(image)
    except _ILLEGIBLE:
        return None


def reservation_in(image: bytes | None) -> Reservation | None:
    try:
        return None if image is None else decode_reservation(image)
    except _ILLEGIBLE:
        return None


def order_in(image: bytes | None) -> Order | None:
    try:
        return None if image is None else decode_order(image)
    except _ILLEGIBLE:
        return None


def locations_in(image: bytes | None) -> list[str] | None:
    """A SKU's list of locations, empty where there is none; None where it can't be read."""
    try:
        known = [] if image is None else _decode_locations(image)
    except _ILLEGIBLE:
        return None
    return None if any("\0" in location for location in known) else known


def name_in(raw: bytes) -> str | None:
    """The name; None where it is no text that commands and Postgres can name."""
    try:
        return None if b"\0" in raw else raw.decode()
    except UnicodeDecodeError:
        return None


def shown(image: bytes | None, value: StockLevel | Reservation | Order | None) -> Any:
    """The value with its fields' names; null for nothing."""
    if value is not None:
        return named(value)
    return None if image is None else {"unreadable": image[:_SHOWN_BYTES].hex()}
