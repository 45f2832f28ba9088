"""How many can be sold, over HTTP: questions decoded, numbers written."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import parse_qsl

from litestar import Router, get, post
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response
from msgspec import UNSET, Meta, Struct, UnsetType

from atp_service.api.fast_path.hot_routes import Hot
from atp_service.api.litestar_routes import ANY_QUERY, StrictBody, bounds, problems, respond
from atp_service.api.problems import invalid, unknown_channel
from atp_service.api.request_decoding import body_reader, converted, query_of
from atp_service.api.responses import Answer, Timestamp, timestamp, timestamp_or_none
from atp_service.availability import Availability, AvailabilityRequest, Numbers, SkuNumbers, TooMuch
from atp_service.availability.lookup import (
    MOST_CELLS,
    MOST_DAYS,
    FeedAge,
    LocationNumbers,
    UnknownChannel,
)
from atp_service.availability.terms import IncomingDocument
from atp_service.identifiers import Id, LocationId

_PATH = "/v1/availability"


class AvailabilityQuery(Struct, frozen=True, kw_only=True):
    """A request in a query string; other parameters are ignored."""

    sku: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    location: list[LocationId] | None = None
    channel: list[Id] | None = None


class DayAvailability(Struct, frozen=True, gc=False):
    """Units that can be promised for a day."""

    date: str
    atp: int


class LocationAvailability(Struct, frozen=True, gc=False):
    """The number at one location, its terms, and how fresh they are."""

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
    feeds: list[FeedAge]
    days: list[DayAvailability] | UnsetType = UNSET


class SkuAvailability(Struct, frozen=True, gc=False):
    """The number for a SKU; `known` is there, and false, if the SKU is unknown."""

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


async def _look_up(availability: Availability, asked: AvailabilityRequest) -> Answer:
    match await availability.look_up(asked):
        case Numbers() as numbers:
            items = [_item(item, numbers.days) for item in numbers.items]
            as_of = timestamp(numbers.as_of_ms)
            return Answer(200, AvailabilityDocument(as_of, asked.channel, items))
        case UnknownChannel():
            return unknown_channel(asked.channel or "")
        case TooMuch("skus"):
            return invalid(("/skus", f"SKUs × locations may be {MOST_CELLS}: ask in parts"))
        case TooMuch():
            return invalid(("/days", f"SKUs × locations × days may be {MOST_DAYS}: ask in parts"))


def _item(numbers: SkuNumbers, days: Sequence[str]) -> SkuAvailability:
    return SkuAvailability(
        numbers.sku,
        numbers.ats,
        numbers.atf,
        numbers.shortage,
        [_at(location, days) for location in numbers.locations],
        _by_day(days, numbers.by_day) if days and numbers.known else UNSET,
        UNSET if numbers.known else False,
    )


def _at(numbers: LocationNumbers, days: Sequence[str]) -> LocationAvailability:
    terms = numbers.terms
    return LocationAvailability(
        numbers.location,
        terms.ats,
        terms.atf,
        terms.on_hand,
        terms.unavailable,
        terms.reserved,
        terms.allocated,
        terms.safety_stock,
        terms.incoming,
        terms.version,
        timestamp_or_none(terms.updated_at_ms),
        numbers.feeds,
        _by_day(days, numbers.by_day) if days else UNSET,
    )


def _by_day(days: Sequence[str], units: Sequence[int]) -> list[DayAvailability]:
    return [DayAvailability(day, atp) for day, atp in zip(days, units, strict=True)]


@lru_cache(256)
def _asked(query: bytes) -> AvailabilityRequest:
    """The request in a query string. Shop pages ask the same all the time."""
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
        Hot("GET", _PATH, lambda _, __, query: _look_up(availability, _asked(query))),
        Hot("POST", _PATH, lambda _, __, body: _look_up(availability, read(body))),
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
        return respond(await _look_up(availability, asked))

    @post(
        "/",
        status_code=200,
        dto=StrictBody[AvailabilityRequest],
        return_dto=None,
        summary="What can be sold, also by day",
        responses=_PROBLEMS,
    )
    async def look_up(data: JSONBody[AvailabilityRequest]) -> Response[AvailabilityDocument]:
        return respond(await _look_up(availability, data))

    return Router(_PATH, route_handlers=[read, look_up], tags=["Availability"])
