"""Stock of one SKU at one location, as Redis keeps it: a short msgpack array."""

from msgspec import Struct, field
from msgspec.msgpack import Decoder

SEPARATOR = "\x1f"  # between SKU and location in a field's name; no id may contain it


class Document(Struct, omit_defaults=True, gc=False):
    """A purchase order, transfer or return on its way to a level; either side may come first.

    `expected` is what was announced last, `shipped` what has been sent off so far.
    """

    expected: int | None = None
    shipped: int | None = None
    received: int = 0
    eta: str = ""
    expected_at: int = 0
    settled_at: int = 0
    transfer: bool = False

    @property
    def incoming(self) -> int:
        return max(0, (self.in_all or 0) - self.received)

    @property
    def in_all(self) -> int | None:
        """What it brings in all: as announced, or as sent off, whichever is more; None where
        neither is known. One may be reported both ways, in any order.
        """
        if self.expected is None or self.shipped is None:
            return self.shipped if self.expected is None else self.expected
        return max(self.expected, self.shipped)


class Extras(Struct, omit_defaults=True, gc=False):
    """What most levels don't have; a plain level doesn't carry it."""

    counted_at: int | None = None
    safety_stock: int | None = None
    repaired_at: int | None = None  # the version that a repair made
    states: dict[str, int] = {}
    documents: dict[str, Document] = {}


class StockLevel(Struct, array_like=True, omit_defaults=True, gc=False):
    """The numbers of one level. `version` counts entries, `moves` the changes of on_hand."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    version: int = 0
    moves: int = 0
    updated_at: int = 0
    extras: Extras = field(default_factory=Extras)

    @property
    def unavailable(self) -> int:
        """Units in a state that can't be sold. A state may be known too late: never below 0."""
        states = self.extras.states
        return sum(max(0, units) for units in states.values()) if states else 0

    @property
    def atf(self) -> int:
        return self.on_hand - self.unavailable - self.reserved - self.allocated

    def safety_stock(self, of_channel: int = 0) -> int:
        """The level's own where it has one, else the channel's: the most specific wins."""
        own = self.extras.safety_stock
        return of_channel if own is None else own

    def ats(self, of_channel: int = 0) -> int:
        return max(0, self.atf - self.safety_stock(of_channel))


decode_level = Decoder(StockLevel).decode


def level_field(sku: str, location: str) -> str:
    return f"{sku}{SEPARATOR}{location}"


def split_field(name: str) -> tuple[str, str]:
    sku, _, location = name.partition(SEPARATOR)
    return sku, location
