"""How many can be sold: the levels as the door sees them, with the terms behind each number."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, islice
from typing import Annotated, Any, NamedTuple, cast
from urllib.parse import parse_qsl

from litestar import Router, get, post
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs
from msgspec.json import encode

from atp_service.api.channels import find_channel
from atp_service.api.fast_path.hot_routes import Hot
from atp_service.api.level_json import (
    Cell,
    DayAvailability,
    FeedAge,
    LocationAvailability,
    cell_of,
    cell_of_image,
    incoming_of,
    level_of_image,
)
from atp_service.api.litestar_routes import ANY_QUERY, StrictBody, bounds, problems, respond
from atp_service.api.problems import Refused, invalid
from atp_service.api.request_decoding import body_reader, converted, query_of
from atp_service.api.responses import Answer, Timestamp, timestamp
from atp_service.catalog import Catalog, Feed, Location
from atp_service.catalog.policy import location_refusal
from atp_service.identifiers import Id, LocationId
from atp_service.inventory.stock import StockLevel
from atp_service.store import FeedSeen, Store, Unreadable

_MOST_CELLS = 10_000
_MOST_DAYS = 100_000  # of all cells together: nobody else is answered while they are added up

Level = tuple[str, str]  # SKU, location
Taken = tuple[int, int]  # reserved, allocated


class AvailabilityRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SKUs to look up; without locations, everywhere they have a level."""

    skus: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    locations: Annotated[list[LocationId], Meta(min_length=1, max_length=10_000)] | None = None
    channel: Id | None = None
    days: Annotated[int, Meta(ge=1, le=366, description="ATP per day, from today")] | None = None
    exclude_reservation: Id | None = None


class AvailabilityQuery(Struct, frozen=True, kw_only=True):
    """The same in a query string; other parameters are nobody's business."""

    sku: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    location: list[LocationId] | None = None
    channel: list[Id] | None = None


class SkuAvailability(Struct, frozen=True, gc=False):
    """The number for a SKU; `known` is there, and false, where nobody knows the SKU."""

    sku: str
    ats: int
    atf: int
    shortage: int
    locations: list[LocationAvailability]
    days: list[DayAvailability] | UnsetType = UNSET
    known: bool | UnsetType = UNSET


class AvailabilityDocument(Struct, frozen=True):
    """Items in the order asked."""

    as_of: Timestamp
    channel: str | None
    items: list[SkuAvailability]


class Availability:
    """Reads levels from where holds are decided, every time."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        auto_create: bool,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._auto_create = auto_create
        self._now_ms = now_ms

    async def look_up(self, asked: AvailabilityRequest) -> Answer:
        channel = asked.channel or ""
        if channel and channel not in self._catalog.channels:
            await find_channel(self._catalog, channel, auto_create=self._auto_create)
        known = await self._known(asked.skus)
        cells = await self._cells(asked, known)
        own = await self._own_units(asked.exclude_reservation)
        pairs = [(sku, location) for sku, locations in cells for location in locations]
        images = await self._store.level_images(pairs)
        places = {location for _, location in pairs}
        nowhere = await self._catalog.strangers(Location, places)
        behind = {feed.id for place in places for feed in self._catalog.feeds_of(place)}
        as_of_ms = self._now_ms()
        view = _View(
            catalog=self._catalog,
            nowhere=nowhere,
            seen=await self._store.feeds(sorted(behind)),
            as_of_ms=as_of_ms,
            channel=channel,
            days=_days(as_of_ms, asked.days or 0),
        )
        found = iter(
            view.at(location, image, own.get((sku, location)) if own else None)
            for (sku, location), image in zip(pairs, images, strict=True)
        )
        items = [
            view.item(sku, list(islice(found, len(locations))))
            if sku in known
            else SkuAvailability(sku, 0, 0, 0, [], known=False)
            for sku, locations in cells
        ]
        return Answer(200, AvailabilityDocument(timestamp(as_of_ms), asked.channel, items))

    async def _known(self, skus: Sequence[str]) -> Container[str]:
        """Those that master data has. While that can't be asked, those with stock too: a page must
        not fail for it, and a hold of them is taken as well."""
        strangers = [sku for sku in skus if sku not in self._catalog.skus]
        if not strangers or await self._catalog.look_again(skus=strangers):
            return self._catalog.skus
        places = await self._store.locations_of(strangers)
        stocked = {sku for sku, found in zip(strangers, places, strict=True) if found}
        return stocked.union(sku for sku in skus if sku in self._catalog.skus)

    async def _cells(
        self, asked: AvailabilityRequest, known: Container[str]
    ) -> list[tuple[str, Sequence[str]]]:
        """Each SKU with the locations to look at; none where the SKU is unknown."""
        places: Iterator[Sequence[str]]
        if asked.locations is None:
            places = iter(await self._store.locations_of([s for s in asked.skus if s in known]))
        else:
            # Units at a location asked for twice are there once.
            once = list(dict.fromkeys(asked.locations))
            places = iter([once] * len(asked.skus))
        cells = [(sku, next(places) if sku in known else ()) for sku in asked.skus]
        count = sum(len(locations) for _, locations in cells)
        if count > _MOST_CELLS:
            raise Refused(
                invalid(("/skus", f"SKUs × locations may be {_MOST_CELLS}: ask in parts"))
            )
        if count * (asked.days or 0) > _MOST_DAYS:
            raise Refused(
                invalid(("/days", f"SKUs × locations × days may be {_MOST_DAYS}: ask in parts"))
            )
        return cells

    async def _own_units(self, reservation_id: str | None) -> dict[Level, Taken]:
        """The units a reservation has at each level."""
        reservation = None
        if reservation_id:
            with suppress(Unreadable):
                reservation = await self._store.reservation(reservation_id)
        units: dict[Level, Taken] = {}
        for line in reservation.lines if reservation else ():
            place = (line.sku, line.location)
            reserved, allocated = units.get(place, (0, 0))
            units[place] = (reserved + line.reserved, allocated + line.allocated)
        return units


class _Place(Struct, frozen=True, gc=False):
    """What is the same for all levels of a location; `feeds` as JSON."""

    refusal: str | None
    feeds: bytes


class _At(NamedTuple):
    """A level at its location, for the total and for the page."""

    cell: Cell
    written: Raw
    days: list[DayAvailability] | None


class _View:
    """How a level looks on a channel at a moment; `nowhere` are locations that nobody knows."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        nowhere: Collection[str],
        seen: dict[str, FeedSeen],
        as_of_ms: int,
        channel: str,
        days: Sequence[str],
    ) -> None:
        self._catalog = catalog
        self._nowhere = nowhere
        self._seen = seen
        self._as_of_ms = as_of_ms
        self._channel = channel
        self._channel_safety_stock = catalog.safety_stock(channel)
        self._days = days
        self._places: dict[str, _Place] = {}

    def item(self, sku: str, places: list[_At]) -> SkuAvailability:
        """The total: each location's number is floored before it is added."""
        ats = atf = shortage = 0
        for cell, _, _ in places:
            ats += cell.ats
            atf += cell.atf
            shortage += -cell.atf if cell.atf < 0 else 0
        days = self._total_by_day(places) if self._days else UNSET
        locations = cast("list[LocationAvailability]", [place.written for place in places])
        return SkuAvailability(sku, ats, atf, shortage, locations, days)

    def at(self, location: str, image: bytes | None, own: Taken | None) -> _At:
        place = self._places.get(location) or self._place(location)
        if own is None and not self._days:
            cell = cell_of_image(image, location, place.refusal, self._channel_safety_stock)
            return _At(cell, cell.written(place.feeds, None), None)
        level = _without(level_of_image(image), own)
        cell = cell_of(level, location, place.refusal, self._channel_safety_stock)
        days = self._by_day(level, place.refusal) if self._days else None
        return _At(cell, cell.written(place.feeds, days), days)

    def _by_day(self, level: StockLevel, refusal: str | None) -> list[DayAvailability]:
        """ATP(day): the minimum from that day to the horizon, floored at 0 last."""
        incoming = incoming_of(level.extras.documents)
        # An eta is a date, or a moment in UTC; units without one are promised for no day.
        ats_before_flooring = level.atf - level.safety_stock(self._channel_safety_stock)
        expected = [
            ats_before_flooring
            + sum(due.quantity for due in incoming if due.eta and due.eta[:10] <= day)
            for day in self._days
        ]
        lowest = list(accumulate(reversed(expected), min))[::-1]
        return [
            DayAvailability(day, max(0, units) if refusal is None else 0)
            for day, units in zip(self._days, lowest, strict=True)
        ]

    def _total_by_day(self, places: Sequence[_At]) -> list[DayAvailability]:
        by_day = [place.days for place in places if place.days is not None]
        return [
            DayAvailability(day, sum(days[i].atp for days in by_day))
            for i, day in enumerate(self._days)
        ]

    def _place(self, location: str) -> "_Place":
        described = self._catalog.locations.get(location)
        refusal = "unknown" if location in self._nowhere else None
        place = self._places[location] = _Place(
            refusal if described is None else location_refusal(described, self._channel),
            encode([self._age(feed) for feed in self._catalog.feeds_of(location)]),
        )
        return place

    def _age(self, feed: Feed) -> FeedAge:
        """What the feed told last was true then; a feed never heard of is as stale as can be."""
        seen = self._seen.get(feed.id)
        if seen is None:
            return FeedAge(feed.id, None, feed.freshness_seconds is not None)
        lag_seconds = max(0, self._as_of_ms - seen.occurred_at_ms) / 1000
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


@lru_cache(256)
def _asked(query: bytes) -> AvailabilityRequest:
    """The request in a query string. Shop pages ask the same again and again."""
    values: dict[str, Any] = {}
    for name, value in _pairs(query_of(query)):
        values.setdefault(name, []).append(value)
    return _request(values)


def _pairs(query: str) -> Iterable[Sequence[str]]:
    """Names and values. Most queries have nothing escaped, and need no more than being cut up."""
    if "%" in query or "+" in query:
        return parse_qsl(query, keep_blank_values=True)
    return [pair.split("=", 1) if "=" in pair else (pair, "") for pair in query.split("&") if pair]


def _request(values: dict[str, Any]) -> AvailabilityRequest:
    asked = converted(values, AvailabilityQuery)
    return AvailabilityRequest(
        skus=asked.sku,
        locations=asked.location,
        channel=asked.channel[-1] if asked.channel else None,
    )


def hot_routes(availability: Availability) -> list[Hot]:
    read = body_reader(AvailabilityRequest)
    return [
        Hot(
            "GET",
            "/v1/availability",
            lambda _, __, query: availability.look_up(_asked(query)),
        ),
        Hot(
            "POST",
            "/v1/availability",
            lambda _, __, body: availability.look_up(read(body)),
        ),
    ]


_PROBLEMS = problems("invalid", "unknown-channel", "fenced", "too-large")


def routes(availability: Availability) -> Router:
    @get("/", summary="What can be sold", responses=_PROBLEMS, opt={ANY_QUERY: True})
    async def read(
        sku: Annotated[
            list[str],
            QueryParameter(
                description="a SKU; repeatable",
                schema_extra={"items": bounds(Id), "minItems": 1, "maxItems": 1000},
            ),
        ],
        location: Annotated[
            list[str] | None,
            QueryParameter(
                description="a location; repeatable", schema_extra={"items": bounds(LocationId)}
            ),
        ] = None,
        channel: Annotated[
            str | None, QueryParameter(description="whose view", schema_extra=bounds(Id))
        ] = None,
    ) -> Response[AvailabilityDocument]:
        asked = _request({"sku": sku, "location": location, "channel": channel and [channel]})
        return respond(await availability.look_up(asked))

    @post(
        "/",
        status_code=200,
        dto=StrictBody[AvailabilityRequest],
        return_dto=None,
        summary="What can be sold, also by day",
        responses=_PROBLEMS,
    )
    async def look_up(data: JSONBody[AvailabilityRequest]) -> Response[AvailabilityDocument]:
        return respond(await availability.look_up(data))

    return Router("/v1/availability", route_handlers=[read, look_up], tags=["Availability"])
