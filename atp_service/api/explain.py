"""Why a number is what it is, now or at a moment in the past: a waterfall from on_hand to ATS, term
by term, with the entries behind each.

For now the level is read where availability reads it; its past is in the ledger.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from litestar import Request, Router, get
from litestar.params import QueryParameter
from litestar.response import Response
from msgspec import UNSET, Meta, Struct, UnsetType

from atp_service.api.entries import EntryMembers, members_of
from atp_service.api.litestar_routes import bounds, problems, respond
from atp_service.api.problems import Refused, invalid, problem, unknown_channel
from atp_service.api.request_decoding import converted
from atp_service.api.responses import Answer, Timestamp, timestamp
from atp_service.api.wait_recorded import recorded_now
from atp_service.availability.terms import Terms, terms_of
from atp_service.catalog import Catalog, Channel, Location, Sku
from atp_service.catalog.history import PastRecord, record_at
from atp_service.catalog.policy import location_refusal, sku_refusal
from atp_service.catalog.resolve import is_channel_known, look_for
from atp_service.identifiers import Id, LocationId
from atp_service.inventory.commands import RepairLevel
from atp_service.inventory.stock import StockLevel
from atp_service.ledger import Ledger
from atp_service.ledger.read import level_history
from atp_service.ledger.read.entries import milliseconds
from atp_service.ledger.read.level_history import Change, Moment
from atp_service.store import Store

R = TypeVar("R", Channel, Sku, Location)

_NO_LEVEL = StockLevel()
_ENTRIES = 5

TermName = Literal[
    "on_hand",
    "unavailable",
    "reserved",
    "allocated",
    "safety_stock",
    "sku_unavailable",
    "location_unavailable",
    "ats",
]


class ExplainQuery(Struct, frozen=True, kw_only=True):
    """What is asked; without `at`, about now."""

    sku: Id
    location: LocationId
    channel: Id | None = None
    at: Annotated[datetime, Meta(tz=True)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = _ENTRIES


class TermEntry(EntryMembers, frozen=True, kw_only=True):
    """An entry that changed the term by `units` to `after`.

    `found`, of a repair: the term as it stood in Redis, changed without an entry; null if there was
    nothing, or nothing readable.
    """

    units: int
    after: int
    version: int
    found: int | UnsetType | None = UNSET


class Term(Struct, frozen=True, kw_only=True):
    """A step of the waterfall: `units` are taken off, and `after` is left.

    `states`: the parts of `unavailable`. `policy`: the level's safety stock, or the channel's.
    `reason`: why the SKU or the location doesn't sell. `since`: since when master data has it so.
    """

    term: TermName
    units: int
    after: int
    states: dict[str, int] | UnsetType = UNSET
    policy: Literal["level", "channel"] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    since: Timestamp | UnsetType = UNSET
    entries: list[TermEntry] = []


class ExplainDocument(Struct, frozen=True):
    """A number, and what it is made of."""

    as_of: Timestamp
    sku: str
    location: str
    channel: str | None
    ats: int
    atf: int
    shortage: int
    version: int
    terms: list[Term]


class _Scene(Struct, frozen=True):
    """A level and the master data around it; `moment` is the past one asked for, None for now.

    The SKU and the location are None if they were not known yet; without a record: deleted.
    """

    as_of_ms: int
    moment: Moment | None
    level: StockLevel | None
    channel: PastRecord[Channel] | None
    sku: PastRecord[Sku] | None
    place: PastRecord[Location] | None

    def refusal(self, channel: str) -> "_Refusal | None":
        """The first reason for which a hold would be refused, whatever stands there."""
        if self.sku is not None and self.sku.record is None:
            return _Refusal("sku_unavailable", "unknown", self.sku)
        if self.sku is not None and sku_refusal(self.sku.record):
            return _Refusal("sku_unavailable", "inactive", self.sku)
        if self.place is None:
            return None
        described = self.place.record
        reason = "unknown" if described is None else location_refusal(described, channel)
        return None if reason is None else _Refusal("location_unavailable", reason, self.place)


class _Refusal(Struct, frozen=True):
    """Why nothing is sold, and the master data that has it so."""

    term: Literal["sku_unavailable", "location_unavailable"]
    reason: str
    found: PastRecord[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """Explains numbers."""

    store: Store
    ledger: Ledger
    catalog: Catalog
    auto_create: bool
    now_ms: Callable[[], int]

    async def explain(self, asked: ExplainQuery) -> Answer:
        at_ms = None if asked.at is None else milliseconds(asked.at)
        scene = await (self._now(asked) if at_ms is None else self._then(asked, at_ms))
        if scene.level is None:
            await self._check_known(asked)
        channel = scene.channel.record if scene.channel else None
        of_channel = channel.safety_stock if channel else 0
        level = scene.level or _NO_LEVEL
        refusal = scene.refusal(asked.channel or "")
        terms = terms_of(level, of_channel, sold=refusal is None)
        changes = await level_history.changes(
            self.ledger,
            asked.sku,
            asked.location,
            level.version,
            of_channel=of_channel,
            limit=asked.limit,
            moment=scene.moment,
        )
        return Answer(
            200,
            ExplainDocument(
                timestamp(scene.as_of_ms),
                asked.sku,
                asked.location,
                asked.channel,
                terms.ats,
                terms.atf,
                max(0, -terms.atf),
                level.version,
                list(_waterfall(terms, level, scene.channel, refusal, changes)),
            ),
        )

    async def _now(self, asked: ExplainQuery) -> _Scene:
        await self._check_channel(asked.channel)
        await look_for(self.catalog, skus=[asked.sku], locations=[asked.location])
        (level,) = await self.store.levels([(asked.sku, asked.location)])
        catalog = self.catalog
        channel = catalog.channels.get(asked.channel or "")
        sku, place = catalog.skus.get(asked.sku), catalog.locations.get(asked.location)
        as_of_ms = self.now_ms()
        await recorded_now(self.store, self.ledger)
        return _Scene(
            as_of_ms,
            None,
            level,
            await self._since_known(Channel, channel, channel.key, as_of_ms) if channel else None,
            await self._since_known(Sku, sku, asked.sku, as_of_ms),
            await self._since_known(Location, place, asked.location, as_of_ms),
        )

    async def _then(self, asked: ExplainQuery, at_ms: int) -> _Scene:
        await self._check_reached(asked.sku, at_ms)
        ledger, location = self.ledger, asked.location
        channel = None
        if asked.channel is not None:
            channel = await record_at(self.catalog, Channel, asked.channel, at_ms)
            if channel is None or channel.record is None:
                await self._check_channel(asked.channel)
        found = await level_history.level_at(ledger, asked.sku, location, at_ms)
        level, seq = found or (None, 0)
        return _Scene(
            at_ms,
            Moment(at_ms, seq),
            level,
            channel,
            await record_at(self.catalog, Sku, asked.sku, at_ms),
            await record_at(self.catalog, Location, location, at_ms),
        )

    async def _since_known(
        self, kind: type[R], record: R | None, key: str, at_ms: int
    ) -> PastRecord[R]:
        """The record in memory, which availability uses too, and since when it was so."""
        known = await record_at(self.catalog, kind, key, at_ms)
        return PastRecord(record, None if known is None else known.since_ms)

    async def _check_reached(self, sku: str, at_ms: int) -> None:
        """Refuses a moment that the ledger has nothing of; waits for it to have all of it."""
        now_ms = self.now_ms()
        partition = self.store.partition_of(sku).number
        span = await level_history.span(self.ledger, partition)
        if span is None or span.last_ms <= at_ms <= now_ms:
            await recorded_now(self.store, self.ledger)
            span = await level_history.span(self.ledger, partition)
        if span is None:
            raise Refused(invalid(("/at", "the ledger has no entries yet")))
        last_ms = max(now_ms, span.last_ms)  # clocks differ
        if not span.first_ms <= at_ms <= last_ms:
            first, last = timestamp(span.first_ms), timestamp(last_ms)
            raise Refused(invalid(("/at", f"the ledger reaches from {first} to now, {last}")))

    async def _check_channel(self, channel: str | None) -> None:
        name, create = channel or "", self.auto_create
        if not await is_channel_known(self.catalog, name, auto_create=create):
            raise Refused(unknown_channel(name))

    async def _check_known(self, asked: ExplainQuery) -> None:
        """Refuses unknown names; a known SKU at a known location without a level is just zero."""
        await look_for(self.catalog, skus=[asked.sku], locations=[asked.location])
        anywhere, here = await level_history.stocked(self.ledger, asked.sku, asked.location)
        if asked.sku not in self.catalog.skus and not anywhere:
            raise Refused(problem("not-found", f"There is no sku {asked.sku}."))
        if asked.location not in self.catalog.locations and not here:
            raise Refused(problem("not-found", f"There is no location {asked.location}."))


def _waterfall(
    terms: Terms,
    level: StockLevel,
    channel: PastRecord[Channel] | None,
    refusal: _Refusal | None,
    changes: Mapping[str, Sequence[Change]],
) -> Iterator[Term]:
    """The terms in order, and what is left after each."""
    own = level.extras.safety_stock is not None
    of_channel = None if own else channel
    policy = "level" if own else "channel" if of_channel else UNSET
    steps: list[tuple[TermName, int, dict[str, Any]]] = [
        ("on_hand", terms.on_hand, {}),
        ("unavailable", level.unavailable, {"states": terms.unavailable}),
        ("reserved", terms.reserved, {}),
        ("allocated", terms.allocated, {}),
        ("safety_stock", terms.safety_stock, {"policy": policy, "since": _since(of_channel)}),
    ]
    left = 0
    for term, units, members in steps:
        left += units if term == "on_hand" else -units
        entries = [_entry(change) for change in changes.get(term, ())]
        yield Term(term=term, units=units, after=left, entries=entries, **members)
    if refusal is not None:
        units = max(0, left)
        left -= units
        since = _since(refusal.found)
        yield Term(term=refusal.term, units=units, after=left, reason=refusal.reason, since=since)
    yield Term(term="ats", units=terms.ats, after=max(0, left))


def _since(found: PastRecord[Any] | None) -> str | UnsetType:
    return UNSET if found is None or found.since_ms is None else timestamp(found.since_ms)


def _entry(change: Change) -> TermEntry:
    return TermEntry(
        **members_of(change.entry),
        units=change.units,
        after=change.after,
        version=change.version,
        found=change.found if isinstance(change.entry.command, RepairLevel) else UNSET,
    )


def routes(explain: Explain) -> Router:
    @get(
        "/",
        summary="Why a number is what it is, now or at a moment in the past",
        responses=problems("invalid", "not-found", "unknown-channel", "fenced"),
    )
    async def read(
        request: Request[Any, Any, Any],
        sku: Annotated[str, QueryParameter(description="a SKU", schema_extra=bounds(Id))],
        location: Annotated[
            str, QueryParameter(description="a location", schema_extra=bounds(LocationId))
        ],
        channel: Annotated[
            str | None, QueryParameter(description="whose view", schema_extra=bounds(Id))
        ] = None,
        at: Annotated[
            str | None,
            QueryParameter(
                description="a moment in the past, RFC 3339; now, if left out",
                schema_extra={"format": "date-time"},
            ),
        ] = None,
        limit: Annotated[
            int, QueryParameter(ge=1, le=100, description="entries behind each term")
        ] = _ENTRIES,
    ) -> Response[ExplainDocument]:
        asked = {"sku": sku, "location": location, "channel": channel, "at": at, "limit": limit}
        # Availability takes several of them: here the caller must not get the last alone.
        repeated = [name for name in asked if len(request.query_params.getall(name, [])) > 1]
        if repeated:
            return respond(invalid(*((f"/{name}", "asked more than once") for name in repeated)))
        return respond(await explain.explain(converted(asked, ExplainQuery)))

    return Router("/v1/explain", route_handlers=[read], tags=["Proof"])
