"""Master data: locations, SKUs, channels and feeds by id, and a level's own safety stock."""

from heapq import nsmallest
from typing import Annotated, Any, TypeVar

from litestar import Router, delete, get, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from litestar.response import Response
from msgspec import Struct, structs

from atp_service.api.litestar_routes import StrictBody, path_parameter, problems, respond
from atp_service.api.pagination import Cursor, Limit
from atp_service.api.problems import invalid, problem
from atp_service.api.request_decoding import path_id
from atp_service.api.responses import JSON, REPLAYED, Answer, Call
from atp_service.catalog import Catalog, Change, Channel, Feed, Location, Record, Sku
from atp_service.catalog.records import SafetyUnits
from atp_service.catalog.resolve import look_for
from atp_service.identifiers import Id, LocationId
from atp_service.inventory.commands import SafetyStock
from atp_service.inventory.outcomes import Applied, NoRoom, Unchanged
from atp_service.postgres.idempotency import Keyed
from atp_service.store import Store

R = TypeVar("R", bound=Record)

_SkuInPath = Annotated[str, path_parameter("the SKU")]
_LocationInPath = Annotated[str, path_parameter("the location", LocationId)]


class LevelPolicyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A level's own safety stock; null leaves it to the channel's."""

    safety_stock: SafetyUnits | None


class LevelPolicyDocument(Struct, frozen=True):
    """A level's own safety stock; null if it has none."""

    sku: str
    location: str
    safety_stock: int | None


def routes(catalog: Catalog, store: Store, dedupe_hours: int) -> list[Router]:
    return [
        _shelf(catalog, Location, catalog.locations, "/v1/locations", LocationId, dedupe_hours),
        _shelf(catalog, Channel, catalog.channels, "/v1/channels", Id, dedupe_hours),
        _shelf(catalog, Feed, catalog.feeds, "/v1/feeds", Id, dedupe_hours),
        _shelf(catalog, Sku, catalog.skus, "/v1/skus", Id, dedupe_hours),
        _levels(catalog, store),
    ]


def _shelf(
    catalog: Catalog,
    kind: type[R],
    records: dict[str, R],
    path: str,
    id_type: Any,
    dedupe_hours: int,
) -> Router:
    """The four routes of one kind of record."""
    field = kind.id_field
    one = "/{key:str}"
    shown = {200: ResponseSpec(kind, generate_examples=False, description="The record")}
    noun = kind.__name__
    key_type = Annotated[str, path_parameter(f"the {noun.lower()}'s id", id_type)]

    def under(method: str, key: str, call_key: str | None) -> Keyed | None:
        return None if call_key is None else Keyed(f"{method} {path}", key, call_key, dedupe_hours)

    @put(
        one,
        dto=StrictBody[kind],  # type: ignore[valid-type]  # a type, only known here
        return_dto=None,
        summary=f"Create or replace a {noun.lower()}",
        responses=shown | problems("invalid", "not-found", "too-large"),
    )
    async def write(
        key: key_type, data: JSONBody[Any], call_key: NamedDependency[str | None]
    ) -> Response[Any]:
        key = path_id(field, key, id_type)
        if data.key not in ("", key):
            return respond(invalid((f"/{field}", "not the id in the path")))
        record: R = structs.replace(data, **{field: key})
        complaints = list(record.complaints())
        if complaints:
            return respond(invalid(*complaints))
        change = await catalog.put(record, under("PUT", key, call_key))
        return respond(_answer(change, noun, key))

    @get(one, summary=f"A {noun.lower()}", responses=shown | problems("invalid", "not-found"))
    async def read(key: key_type) -> Response[Any]:
        key = path_id(field, key, id_type)
        record = records.get(key)
        if record is None:
            catalog.check_loaded()
            return respond(_absent(noun, key))
        return respond(Answer(200, record))

    @delete(
        one,
        status_code=200,
        summary=f"Delete a {noun.lower()}",
        responses=shown | problems("invalid", "not-found"),
    )
    async def remove(key: key_type, call_key: NamedDependency[str | None]) -> Response[Any]:
        key = path_id(field, key, id_type)
        change = await catalog.delete(kind, key, under("DELETE", key, call_key))
        return respond(_answer(change, noun, key))

    @get("/", summary=f"All of kind {noun.lower()}, by id", responses=problems("invalid"))
    async def page(limit: Limit = 100, cursor: Cursor = None) -> Response[Any]:
        catalog.check_loaded()
        after = cursor or ""
        keys = nsmallest(limit + 1, (key for key in records if key > after))
        shown_keys = keys[:limit]
        next_cursor = shown_keys[-1] if len(keys) > limit else None
        items = [records[key] for key in shown_keys]
        return respond(Answer(200, {"items": items, "next_cursor": next_cursor}))

    return Router(path, route_handlers=[write, read, remove, page], tags=["Master data"])


def _levels(catalog: Catalog, store: Store) -> Router:
    one = "/{sku:str}/locations/{location:str}"

    def unknown_name(sku: str, location: str) -> Answer | None:
        catalog.check_loaded()
        if sku not in catalog.skus:
            return _absent("Sku", sku)
        if location not in catalog.locations:
            return _absent("Location", location)
        return None

    @put(
        one,
        dto=StrictBody[LevelPolicyRequest],
        return_dto=None,
        summary="Set a level's own safety stock",
        responses=problems("invalid", "not-found", "overloaded", "fenced", "too-large"),
    )
    async def write(
        call: NamedDependency[Call],
        sku: _SkuInPath,
        location: _LocationInPath,
        data: JSONBody[LevelPolicyRequest],
    ) -> Response[LevelPolicyDocument]:
        sku = path_id("sku", sku)
        location = path_id("location", location, LocationId)
        await look_for(catalog, skus=[sku], locations=[location])
        unknown = unknown_name(sku, location)
        if unknown is not None:
            return respond(unknown)
        outcome = await store.apply(
            SafetyStock(
                sku=sku,
                location=location,
                safety_stock=data.safety_stock,
                key=call.key,
                traceparent=call.traceparent,
            )
        )
        match outcome:
            case Applied():
                return respond(Answer(200, LevelPolicyDocument(sku, location, data.safety_stock)))
            case Unchanged():
                # So already, or done before under this key, and perhaps changed since.
                (level,) = await store.levels([(sku, location)])
                own = level.extras.safety_stock if level else None
                return respond(Answer(200, LevelPolicyDocument(sku, location, own), REPLAYED))
            case NoRoom():
                return respond(
                    problem("overloaded", "Redis is nearly out of memory.", retry_after=5)
                )
            case _:
                raise TypeError(f"no safety stock ends in {outcome!r}")

    @get(
        one,
        summary="A level's own safety stock",
        responses=problems("invalid", "not-found", "fenced"),
    )
    async def read(sku: _SkuInPath, location: _LocationInPath) -> Response[LevelPolicyDocument]:
        sku = path_id("sku", sku)
        location = path_id("location", location, LocationId)
        unknown = unknown_name(sku, location)
        if unknown is not None:
            return respond(unknown)
        (level,) = await store.levels([(sku, location)])
        own = None if level is None else level.extras.safety_stock
        return respond(Answer(200, LevelPolicyDocument(sku, location, own)))

    return Router("/v1/skus", route_handlers=[write, read], tags=["Master data"])


def _answer(change: Change[Any], noun: str, key: str) -> Answer:
    """The record, as the change left it or took it away; after a repeated put, as it is now."""
    if change.complaints:
        return invalid(*change.complaints)
    if change.record is not None:
        return Answer(200, change.record, REPLAYED if change.repeated else JSON)
    absent = _absent(noun, key)
    if not change.repeated:
        return absent
    return structs.replace(absent, headers=(*absent.headers, REPLAYED[-1]))


def _absent(noun: str, key: str) -> Answer:
    return problem("not-found", f"There is no {noun.lower()} {key}.")
