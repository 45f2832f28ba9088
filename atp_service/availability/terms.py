"""The terms of a level on a channel: on_hand less what can't be sold, and units that are due.

Pages ask for the same levels all the time. The terms follow from a level's image in Redis alone, so
they are remembered by it. They can't be outdated, since Redis is asked for the image every time.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

from msgspec import Struct

from atp_service.inventory.stock import Document, StockLevel
from atp_service.store import readable_level

_NO_LEVEL = StockLevel()
_REMEMBERED = 32_768  # of about 500 bytes each
_PLAIN_BYTES = 256  # of an image; one with many documents takes more room than it is worth


class IncomingDocument(Struct, frozen=True, gc=False):
    """Units on their way; `eta` is a date or a moment in UTC, as the document has it."""

    document: str
    eta: str | None
    quantity: int


class Terms(Struct, frozen=True, gc=False):
    """The terms of a level's number on a channel, in units; `unavailable` is by state.

    `updated_at_ms` is 0 if the level never was.
    """

    on_hand: int
    unavailable: dict[str, int]
    reserved: int
    allocated: int
    safety_stock: int
    atf: int
    ats: int
    incoming: list[IncomingDocument]
    version: int
    updated_at_ms: int


def terms_of(level: StockLevel, of_channel: int, *, sold: bool) -> Terms:
    """The terms; `of_channel` is the channel's safety stock, which applies if the level has none.

    `sold` is False if a hold would be refused, whatever there is. Then ATS is 0.
    """
    atf, safety_stock = level.atf, level.safety_stock(of_channel)
    states, documents = level.extras.states, level.extras.documents
    return Terms(
        level.on_hand,
        {state: units for state, units in states.items() if units > 0} if states else {},
        level.reserved,
        level.allocated,
        safety_stock,
        atf,
        max(0, atf - safety_stock) if sold else 0,
        incoming_of(documents) if documents else [],
        level.version,
        level.updated_at,
    )


def terms_of_image(image: bytes | None, of_channel: int, sold: bool) -> Terms:
    """As `terms_of`, of a level as Redis has it; None if it has none."""
    if image is None or len(image) <= _PLAIN_BYTES:
        return _remembered(image, of_channel, sold)
    return terms_of(level_of_image(image), of_channel, sold=sold)


@lru_cache(_REMEMBERED)
def _remembered(image: bytes | None, of_channel: int, sold: bool) -> Terms:
    return terms_of(level_of_image(image), of_channel, sold=sold)


def level_of_image(image: bytes | None) -> StockLevel:
    """The level; one that does not exist, or can't be read, has nothing."""
    level = None if image is None else readable_level(image)
    return _NO_LEVEL if level is None else level


def incoming_of(documents: Mapping[str, Document]) -> list[IncomingDocument]:
    """Units that are still to come, the earliest first."""
    return sorted(
        (
            IncomingDocument(name, document.eta or None, document.incoming)
            for name, document in documents.items()
            if document.incoming
        ),
        key=lambda due: (due.eta or "9999", due.document),
    )


def units_by_day(
    level: StockLevel, of_channel: int, days: Sequence[str], *, sold: bool
) -> list[int]:
    """ATP of each day (dates in order): the minimum from that day on, floored at 0 last.

    Units without an eta are promised for no day.
    """
    if not sold:
        return [0] * len(days)
    incoming = incoming_of(level.extras.documents)
    ats_before_flooring = level.atf - level.safety_stock(of_channel)
    expected = [
        ats_before_flooring
        + sum(due.quantity for due in incoming if due.eta and due.eta[:10] <= day)
        for day in days
    ]
    lowest = list(accumulate(reversed(expected), min))[::-1]
    return [max(0, units) for units in lowest]
