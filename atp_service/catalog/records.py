"""Locations, SKUs, channels and feeds, as people describe them (api.md, 4 Master data).

One struct is the request, the answer and the row's document. Rules beyond bounds and patterns are
checked by `complaints`, which names the field.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from typing import Annotated, ClassVar, Literal
from zoneinfo import available_timezones

from msgspec import Meta, Struct

from atp_service.identifiers import Id, LocationId, Owner, Quantity, SnapshotPolicy, Text

LocationKind = Literal["store", "dc", "3pl", "supplier", "in_transit"]
LocationStatus = Literal["active", "inactive", "closed"]
FeedKind = Literal["pos", "wms", "erp", "oms", "ecom", "3pl"]
SafetyUnits = Annotated[int, Meta(ge=0, le=1_000_000_000, description="units withheld from sale")]
Complaint = tuple[str, str]

_timezones = cache(available_timezones)


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of master data, known by its id in the table of its kind."""

    table: ClassVar[str]
    id_field: ClassVar[str] = "id"

    @property
    def key(self) -> str:
        return str(getattr(self, self.id_field))

    def complaints(self) -> Iterator[Complaint]:
        """What is wrong with it, as (JSON pointer, message); nothing where all is well."""
        return iter(())


class Handover(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a location hands over orders, at its counter (`pickup`) or to a carrier (`ship`)."""

    enabled: bool = True
    lead_minutes: Annotated[int, Meta(ge=0, le=44_640)] | None = None
    daily_cap: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    cutoff: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)")] | None = None


class Location(Record, frozen=True, kw_only=True):
    """Where stock physically is. Without `channels` it sells on every one."""

    table: ClassVar[str] = "locations"

    id: LocationId = ""
    name: Text | None = None
    kind: LocationKind = "store"
    lat: Annotated[float, Meta(ge=-90, le=90)] | None = None
    lon: Annotated[float, Meta(ge=-180, le=180)] | None = None
    timezone: Annotated[str, Meta(max_length=64, examples=["Europe/London"])] = "UTC"
    opening_hours: Text | None = None
    pickup: Handover | None = None
    ship: Handover | None = None
    channels: list[Id] | None = None
    status: LocationStatus = "active"

    def complaints(self) -> Iterator[Complaint]:
        if self.timezone not in _timezones():
            yield "/timezone", "not a time zone of the IANA database"
        if (self.lat is None) != (self.lon is None):
            yield ("/lat" if self.lat is None else "/lon"), "lat and lon come together"


class Component(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kit is made of."""

    sku: Id
    quantity: Quantity = 1


class Sku(Record, frozen=True, kw_only=True):
    """What is sold. `units` is how many base units one of another unit is, exactly."""

    table: ClassVar[str] = "skus"
    id_field: ClassVar[str] = "sku"

    sku: Id = ""
    name: Text | None = None
    base_unit: Id = "EA"
    units: Annotated[
        dict[Id, int | Annotated[str, Meta(max_length=64)]],
        Meta(
            description="factor to the base unit: an integer, or a text like `0.5` or `1/3`",
            examples=[{"CASE": 12}],
        ),
    ] = {}
    aliases: Annotated[
        dict[Id, list[Id]],
        Meta(
            description="its other names, by source; `gtin` for its GTINs",
            examples=[{"gtin": ["05012345678900"]}],
        ),
    ] = {}
    components: list[Component] = []
    substitutes: list[Id] = []
    active: bool = True

    def complaints(self) -> Iterator[Complaint]:
        for unit, factor in self.units.items():
            exact = _exact(factor)
            if exact is None or exact <= 0:
                yield f"/units/{_escaped(unit)}", "not a positive exact factor"
            elif unit == self.base_unit and exact != 1:
                yield f"/units/{_escaped(unit)}", "the base unit is 1 of itself"
        if any(component.sku == self.sku for component in self.components):
            yield "/components", "a kit can't be made of itself"

    def taken(self, owners: Mapping[tuple[str, str], str]) -> Iterator[Complaint]:
        """Its names that are another SKU's; `owners` are those others, by source and name."""
        for source, aliases in self.aliases.items():
            for place, alias in enumerate(aliases):
                if owner := owners.get((source, alias)):
                    yield f"/aliases/{_escaped(source)}/{place}", f"{owner} is called so"

    def in_base_units(self, quantity: int, unit: str | None) -> int | None:
        """The quantity in the base unit; None where the unit is unknown or it isn't whole."""
        if unit is None or unit == self.base_unit:
            return quantity
        factor = _exact(self.units[unit]) if unit in self.units else None
        if factor is None:
            return None
        exact = quantity * factor
        return int(exact) if exact.denominator == 1 else None


class Channel(Record, frozen=True, kw_only=True):
    """Who sells. Its safety stock applies where a level has none of its own."""

    table: ClassVar[str] = "channels"

    id: Id = ""
    name: Text | None = None
    safety_stock: SafetyUnits = 0


class Feed(Record, frozen=True, kw_only=True):
    """One source's stream of stock events, and how fresh it should be."""

    table: ClassVar[str] = "feeds"

    id: Id = ""
    kind: FeedKind | None = None
    locations: list[LocationId] = []
    freshness_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = 900
    adapter: Id | None = None
    snapshot: SnapshotPolicy = "review"
    snapshot_tolerance: Annotated[
        int, Meta(ge=0, le=1_000_000_000, description="units a snapshot may differ by, unremarked")
    ] = 0
    owner: Owner = "integration"
    sku_map: Annotated[dict[Id, Id], Meta(description="its SKUs → ours")] = {}
    location_map: Annotated[dict[Id, LocationId], Meta(description="its locations → ours")] = {}


# Bounded: a factor such as 1e8000000 is exact too, and would keep a process busy for seconds.
_FACTOR = re.compile(r"\d{1,12}(\.\d{1,12}|/\d{1,12})?", re.ASCII).fullmatch


@cache
def _exact(factor: int | str) -> Fraction | None:
    if not _FACTOR(str(factor)):
        return None
    try:
        return Fraction(factor)
    except ZeroDivisionError:
        return None


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
