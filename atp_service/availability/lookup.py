"""Numbers for SKUs: levels are read where holds are decided, every time."""

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from atp_service.availability.terms import (
    Terms,
    level_of_image,
    terms_of,
    terms_of_image,
    units_by_day,
)
from atp_service.catalog import Catalog, Feed
from atp_service.catalog.policy import location_refusal, sku_refusal
from atp_service.catalog.resolve import is_channel_known
from atp_service.identifiers import Id, LocationId, Refusal
from atp_service.inventory.stock import StockLevel
from atp_service.store import FeedSeen, Store, Unreadable

MOST_CELLS = 10_000
MOST_DAYS = 100_000  # of all cells together: no other call is answered while they are added up

_NO_DAYS: list[int] = []

Level = tuple[str, str]  # SKU, location
Taken = tuple[int, int]  # reserved, allocated


class AvailabilityRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SKUs to look up; without locations, everywhere they have a level."""

    skus: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    locations: Annotated[list[LocationId], Meta(min_length=1, max_length=10_000)] | None = None
    channel: Id | None = None
    days: Annotated[int, Meta(ge=1, le=366, description="ATP per day, from today")] | None = None
    exclude_reservation: Id | None = None


class FeedAge(Struct, frozen=True, gc=False):
    """How old the latest news of a feed is; null if it was never heard of."""

    feed: str
    lag_seconds: float | None
    stale: bool


class LocationNumbers(Struct, frozen=True, gc=False):
    """The number at one location, its terms, and how fresh they are; ATP of each day asked for."""

    location: str
    terms: Terms
    feeds: list[FeedAge]
    by_day: list[int]


class SkuNumbers(Struct, frozen=True, gc=False):
    """A SKU's numbers, each location's floored before it is added."""

    sku: str
    known: bool
    ats: int = 0
    atf: int = 0
    shortage: int = 0
    locations: list[LocationNumbers] = []
    by_day: list[int] = []


class Numbers(Struct, frozen=True):
    """Items in the order asked; `days` are dates."""

    as_of_ms: int
    days: Sequence[str]
    items: list[SkuNumbers]


class UnknownChannel(Struct, frozen=True):
    """The channel is not known, and channels are not created on first sight."""


class TooMuch(Struct, frozen=True):
    """More than one call returns: SKUs × locations, or those × days."""

    of: Literal["skus", "days"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Looks up numbers."""

    store: Store
    catalog: Catalog
    auto_create: bool
    now_ms: Callable[[], int]

    async def look_up(self, asked: AvailabilityRequest) -> Numbers | UnknownChannel | TooMuch:
        """The numbers. Raises the store's Unavailable and Fenced, and Postgres's Unavailable if the
        channel can't be looked up."""
        channel, days = asked.channel or "", asked.days or 0
        if not await is_channel_known(self.catalog, channel, auto_create=self.auto_create):
            return UnknownChannel()
        known = await self._known(asked.skus)
        cells = await self._cells(asked, known)
        count = sum(len(locations) for _, locations in cells)
        if count > MOST_CELLS:
            return TooMuch("skus")
        if count * days > MOST_DAYS:
            return TooMuch("days")
        own = await self._own_units(asked.exclude_reservation)
        pairs = [(sku, location) for sku, locations in cells for location in locations]
        images = await self.store.level_images(pairs)
        places = {location for _, location in pairs}
        is_asked = await self.catalog.look_up(locations=places)
        unknown = places.difference(self.catalog.locations) if is_asked else ()
        behind = {feed.id for place in places for feed in self.catalog.feeds_of(place)}
        as_of_ms = self.now_ms()
        view = _View(
            catalog=self.catalog,
            unknown=unknown,
            seen=await self.store.feeds(sorted(behind)),
            as_of_ms=as_of_ms,
            channel=channel,
            of_channel=self.catalog.safety_stock(channel),
            days=_days(as_of_ms, days),
        )
        found = iter(images)
        return Numbers(
            as_of_ms,
            view.days,
            [
                view.item(sku, locations, found, own)
                if sku in known
                else SkuNumbers(sku, known=False)
                for sku, locations in cells
            ],
        )

    async def _known(self, skus: Sequence[str]) -> Container[str]:
        """Known SKUs. While master data is away, those with stock too: a page must not fail for it,
        and a hold of them is taken as well."""
        missing = [sku for sku in skus if sku not in self.catalog.skus]
        if not missing or await self.catalog.look_up(skus=missing):
            return self.catalog.skus
        places = await self.store.locations_of(missing)
        stocked = {sku for sku, found in zip(missing, places, strict=True) if found}
        return stocked.union(sku for sku in skus if sku in self.catalog.skus)

    async def _cells(
        self, asked: AvailabilityRequest, known: Container[str]
    ) -> list[tuple[str, Sequence[str]]]:
        """Each SKU with the locations to look at; none if the SKU is unknown."""
        places: Iterator[Sequence[str]]
        if asked.locations is None:
            places = iter(await self.store.locations_of([s for s in asked.skus if s in known]))
        else:
            # Units at a location asked for twice are there once.
            once = list(dict.fromkeys(asked.locations))
            places = iter([once] * len(asked.skus))
        return [(sku, next(places) if sku in known else ()) for sku in asked.skus]

    async def _own_units(self, reservation_id: str | None) -> dict[Level, Taken]:
        """The units a reservation has at each level."""
        reservation = None
        if reservation_id:
            with suppress(Unreadable):
                reservation = await self.store.reservation(reservation_id)
        units: dict[Level, Taken] = {}
        for line in reservation.lines if reservation else ():
            place = (line.sku, line.location)
            reserved, allocated = units.get(place, (0, 0))
            units[place] = (reserved + line.reserved, allocated + line.allocated)
        return units


class _Place(Struct, frozen=True, gc=False):
    """The same for all levels of a location."""

    refused: Refusal | None
    feeds: list[FeedAge]


@dataclass(slots=True)
class _View:
    """How levels look on a channel at a moment; `unknown` are locations."""

    catalog: Catalog
    unknown: Collection[str]
    seen: dict[str, FeedSeen]
    as_of_ms: int
    channel: str
    of_channel: int
    days: Sequence[str]
    places: dict[str, _Place] = field(default_factory=dict)

    def item(
        self,
        sku: str,
        locations: Sequence[str],
        images: Iterator[bytes | None],
        own: dict[Level, Taken],
    ) -> SkuNumbers:
        sold = sku_refusal(self.catalog.skus.get(sku)) is None
        numbers: list[LocationNumbers] = []
        ats = atf = shortage = 0
        for location in locations:
            taken = own.get((sku, location)) if own else None
            at = self._at(location, next(images), taken, sold)
            numbers.append(at)
            terms = at.terms
            ats += terms.ats
            atf += terms.atf
            shortage += -terms.atf if terms.atf < 0 else 0
        if self.days:
            by_day = [sum(at.by_day[day] for at in numbers) for day in range(len(self.days))]
        else:
            by_day = _NO_DAYS
        return SkuNumbers(sku, True, ats, atf, shortage, numbers, by_day)

    def _at(
        self, location: str, image: bytes | None, own: Taken | None, sku_sold: bool
    ) -> LocationNumbers:
        place = self.places.get(location) or self._place(location)
        sold = sku_sold and place.refused is None
        if own is None and not self.days:
            terms = terms_of_image(image, self.of_channel, sold)
            return LocationNumbers(location, terms, place.feeds, _NO_DAYS)
        level = _without(level_of_image(image), own)
        return LocationNumbers(
            location,
            terms_of(level, self.of_channel, sold=sold),
            place.feeds,
            units_by_day(level, self.of_channel, self.days, sold=sold),
        )

    def _place(self, location: str) -> _Place:
        place = self.places[location] = _Place(
            "unknown_location"
            if location in self.unknown
            else location_refusal(self.catalog.locations.get(location), self.channel),
            [self._age(feed) for feed in self.catalog.feeds_of(location)],
        )
        return place

    def _age(self, feed: Feed) -> FeedAge:
        """A feed that was never heard of is as stale as can be."""
        seen = self.seen.get(feed.id)
        if seen is None:
            return FeedAge(feed.id, None, feed.freshness_seconds is not None)
        lag_seconds = max(0, self.as_of_ms - seen.occurred_at_ms) / 1000
        stale = feed.freshness_seconds is not None and lag_seconds > feed.freshness_seconds
        return FeedAge(feed.id, lag_seconds, stale)


def _without(level: StockLevel, own: Taken | None) -> StockLevel:
    """The level as if a reservation's own units were not taken."""
    if own is None:
        return level
    reserved, allocated = own
    return structs.replace(
        level, reserved=level.reserved - reserved, allocated=level.allocated - allocated
    )


def _days(as_of_ms: int, count: int) -> list[str]:
    today = datetime.fromtimestamp(as_of_ms / 1000, UTC).date()
    return [(today + timedelta(days=n)).isoformat() for n in range(count)]
