"""A level as shop pages see it: worked out and written once, for as long as it stays as it is.

Pages ask for the same levels again and again, and a level's image in Redis says all there is to say
of it. So what follows from an image is remembered beside that very image: nothing can be outdated,
since Redis is asked for the image every time.
"""

from collections.abc import Mapping
from functools import lru_cache

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import encode

from atp_service.api.responses import Timestamp, timestamp_or_none
from atp_service.inventory.stock import Document, StockLevel
from atp_service.store import readable_level

_REMEMBERED = 32_768  # of about 600 bytes each
_PLAIN_BYTES = 256  # of an image; one with many documents takes more room than it is worth
_NO_LEVEL = StockLevel()


class IncomingDocument(Struct, frozen=True, gc=False):
    """Units on their way."""

    document: str
    eta: str | None
    quantity: int


class FeedAge(Struct, frozen=True, gc=False):
    """How old the latest news of a feed is; null where it was never heard of."""

    feed: str
    lag_seconds: float | None
    stale: bool


class DayAvailability(Struct, frozen=True, gc=False):
    """Units that can be promised for a day."""

    date: str
    atp: int


class LevelAvailability(Struct, frozen=True, gc=False):
    """The number of a level, and its terms."""

    location: str
    ats: int
    atf: int
    on_hand: int
    unavailable: dict[str, int]
    reserved: int
    allocated: int
    safety_stock: int
    incoming: list[IncomingDocument]
    version: int
    updated_at: Timestamp | None


class LocationAvailability(LevelAvailability, frozen=True, gc=False):
    """The number at one location, its terms, and how fresh they are."""

    feeds: list[FeedAge]
    days: list[DayAvailability] | UnsetType = UNSET


class Terms(Struct, frozen=True, gc=False):
    """What a level's number is made of on a channel."""

    on_hand: int
    unavailable: dict[str, int]
    reserved: int
    allocated: int
    safety_stock: int
    atf: int
    ats: int


def terms_of(level: StockLevel, refusal: str | None, of_channel: int) -> Terms:
    """The terms; `of_channel` is what the channel withholds, and `refusal` says why a hold would be
    refused whatever stands there."""
    atf, safety_stock = level.atf, level.safety_stock(of_channel)
    states = level.extras.states
    return Terms(
        level.on_hand,
        {state: units for state, units in states.items() if units > 0} if states else {},
        level.reserved,
        level.allocated,
        safety_stock,
        atf,
        # Where a hold would be refused nothing can be sold.
        max(0, atf - safety_stock) if refusal is None else 0,
    )


class Cell(Struct, frozen=True, gc=False):
    """What a total needs of a level, and its JSON up to the feeds."""

    ats: int
    atf: int
    begun: bytes

    def written(self, feeds: bytes, days: list[DayAvailability] | None) -> Raw:
        """The JSON of a LocationAvailability; `feeds` is JSON too."""
        if days is None:
            return Raw(self.begun + feeds + b"}")
        return Raw(b"%b%b,%b}" % (self.begun, feeds, b'"days":' + encode(days)))


def cell_of_image(image: bytes | None, location: str, refusal: str | None, of_channel: int) -> Cell:
    """As Redis has the level; None where it has none."""
    if image is None or len(image) <= _PLAIN_BYTES:
        return _remembered(image, location, refusal, of_channel)
    return cell_of(level_of_image(image), location, refusal, of_channel)


@lru_cache(_REMEMBERED)
def _remembered(image: bytes | None, location: str, refusal: str | None, of_channel: int) -> Cell:
    return cell_of(level_of_image(image), location, refusal, of_channel)


def level_of_image(image: bytes | None) -> StockLevel:
    """A level that never was, or can't be read, has nothing."""
    level = None if image is None else readable_level(image)
    return _NO_LEVEL if level is None else level


def cell_of(level: StockLevel, location: str, refusal: str | None, of_channel: int) -> Cell:
    """`refusal` and `of_channel` as in `terms_of`."""
    terms = terms_of(level, refusal, of_channel)
    documents = level.extras.documents
    numbers = LevelAvailability(
        location,
        terms.ats,
        terms.atf,
        terms.on_hand,
        terms.unavailable,
        terms.reserved,
        terms.allocated,
        terms.safety_stock,
        incoming_of(documents) if documents else [],
        level.version,
        timestamp_or_none(level.updated_at),
    )
    return Cell(terms.ats, terms.atf, encode(numbers)[:-1] + b',"feeds":')


def incoming_of(documents: Mapping[str, Document]) -> list[IncomingDocument]:
    """What is still to come, the earliest first."""
    return sorted(
        (
            IncomingDocument(name, document.eta or None, document.incoming)
            for name, document in documents.items()
            if document.incoming
        ),
        key=lambda due: (due.eta or "9999", due.document),
    )
