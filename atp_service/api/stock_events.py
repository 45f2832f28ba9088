"""Stock events over HTTP: as by NATS, with a result for each."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from litestar import Request, Router, post
from litestar.di import NamedDependency
from litestar.response import Response
from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType

from atp_service.api.litestar_routes import problems, respond
from atp_service.api.problems import invalid, problem, unreadable
from atp_service.api.responses import Answer, Call, Timestamp
from atp_service.facts import Arrival, EventResult, Facts
from atp_service.identifiers import Id
from atp_service.ledger import Ledger
from atp_service.store import Store

_MOST_EVENTS = 1_000
_LEDGER_SECONDS = 5.0


class StockEvent(Struct, frozen=True, kw_only=True):
    """A CloudEvent 1.0; what `data` needs depends on the type."""

    specversion: Literal["1.0"]
    id: Id
    source: Id
    type: str
    time: Timestamp
    data: dict[str, Any]
    traceparent: str | None = None


class EventOutcome(Struct, frozen=True):
    """The result of one event; source and id are null if it had none.

    `reason` is one word of a list, `detail` is about this event.
    """

    source: str | None
    id: str | None
    status: Literal["applied", "duplicate", "absorbed", "parked", "rejected", "waiting"]
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class EventOutcomes(Struct, frozen=True):
    """In the order of the events."""

    results: list[EventOutcome]


@dataclass(frozen=True, slots=True)
class StockEvents:
    """Hands events to the facts as they came; only the outer array is taken apart here.

    In the ledger's tier the answer waits until the ledger has these events: duplicates too, since
    their first answer may never have come.
    """

    facts: Facts
    store: Store
    ledger: Ledger
    durability: Literal["redis", "ledger"]

    async def apply(self, call: Call, body: bytes) -> Answer:
        try:
            payloads = _payloads(body)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            return unreadable(body, error, _payloads)
        if len(payloads) > _MOST_EVENTS:
            return invalid(("", f"at most {_MOST_EVENTS} events in one call"))
        arrivals = [
            Arrival(payload, None, f"{call.request_id}/{place}", call.traceparent)
            for place, payload in enumerate(payloads)
        ]
        results = [result for each in await self.facts.apply(arrivals) for result in each]
        recorded = [result for result in results if _leaves_an_entry(result)]
        if self.durability == "ledger" and recorded:
            await self.ledger.wait_for_events(
                await self.store.last_entries(),
                [result.known_as for result in recorded],
                _LEDGER_SECONDS,
                shipments={r.known_as: r.shipment_id for r in recorded if r.shipment_id},
            )
        outcomes = [_outcome(result) for result in results]
        if any(result.status == "waiting" for result in results):
            return problem(
                "unavailable",
                "Some events need the ledger, which is away or not there yet. Those with another"
                " status than `waiting` are done; a retry with all of them is safe.",
                retry_after=5,
                results=outcomes,
            )
        return Answer(200, EventOutcomes(outcomes))


def _payloads(body: bytes) -> list[bytes]:
    body.decode()  # what is left unread below must be text too
    if body.lstrip()[:1] == b"[":
        return [bytes(event) for event in msgspec.json.decode(body, type=list[Raw])]
    msgspec.json.decode(body, type=dict[str, Raw])
    return [body]


def _leaves_an_entry(result: EventResult) -> bool:
    """A heartbeat is applied, and leaves none."""
    if result.status == "applied":
        return result.entry is not None and result.entry.seq > 0
    return result.status in ("duplicate", "absorbed", "parked")


def _outcome(result: EventResult) -> EventOutcome:
    return EventOutcome(
        result.source, result.id, result.status, result.reason or UNSET, result.detail or UNSET
    )


def routes(events: StockEvents) -> Router:
    @post(
        "/",
        status_code=200,
        summary="Apply stock events, in order",
        responses=problems("invalid", "fenced", "too-large"),
    )
    async def apply(
        request: Request[Any, Any, Any], call: NamedDependency[Call]
    ) -> Response[EventOutcomes]:
        return respond(await events.apply(call, await request.body()))

    return Router("/v1/stock-events", route_handlers=[apply], tags=["Stock events"])
