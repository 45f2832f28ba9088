"""Reconciliations: ask for Redis to be compared with the ledger, and read what was found."""

from typing import Annotated

from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from litestar.response import Response
from msgspec import Meta, Struct

from atp_service.api.litestar_routes import StrictBody, problems, repeated, respond
from atp_service.api.pagination import NUMBER, Limit, NumberCursor, number, number_after
from atp_service.api.problems import FieldError, problem
from atp_service.api.responses import JSON, REPLAYED, Answer, Timestamp, timestamp_of
from atp_service.identifiers import Id, LocationId
from atp_service.ledger import Ledger, reconciliations
from atp_service.ledger.reconciliations import Reconciliation, Report, RunStatus, Scope
from atp_service.postgres.idempotency import Keyed

_PATH = "/v1/reconciliations"
_MOST_WAITING = 100


class ScopeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Only these levels; without a scope everything is compared."""

    skus: Annotated[list[Id], Meta(min_length=1, max_length=1_000)] = []
    locations: Annotated[list[LocationId], Meta(min_length=1, max_length=1_000)] = []


class ReconciliationRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to compare; with `repair` false differences are only reported."""

    scope: ScopeRequest = ScopeRequest()
    repair: bool = True


RunId = Annotated[str, PathParameter(description="the run's id", schema_extra={"pattern": NUMBER})]

_EVERYTHING = ReconciliationRequest()


class ReconciliationDocument(Struct, frozen=True):
    """One run: requested, then running, then done or failed; a failed one's report has the reason.
    There is none before it is over."""

    id: str
    status: RunStatus
    scope: Scope
    repair: bool
    asked_by: str
    requested_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    report: Report | None


class ReconciliationPage(Struct, frozen=True):
    """Runs, the newest first."""

    items: list[ReconciliationDocument]
    next_cursor: str | None


def routes(ledger: Ledger, dedupe_hours: int) -> Router:
    @post(
        "/",
        status_code=202,
        dto=StrictBody[ReconciliationRequest],
        return_dto=None,
        summary="Have Redis compared with the ledger",
        responses={
            202: ResponseSpec(
                ReconciliationDocument,
                description="A worker takes it up; `Location` is where to read what it found. Where"
                " the same is asked for and waits already, it is that one",
                generate_examples=False,
            )
        }
        | repeated(ReconciliationDocument)
        | problems("invalid", "unknown-sku", "unknown-location", "overloaded", "too-large"),
    )
    async def ask(
        call_key: NamedDependency[str | None], data: JSONBody[ReconciliationRequest] = _EVERYTHING
    ) -> Response[ReconciliationDocument]:
        keyed = None if call_key is None else Keyed(f"POST {_PATH}", "", call_key, dedupe_hours)
        # A retry gets the first answer, whatever another caller would get by now.
        before = None if keyed is None else await reconciliations.asked_before(ledger, keyed)
        if before is not None:
            return respond(_asked(before, is_repeat=True))
        scope = Scope(skus=data.scope.skus, locations=data.scope.locations)
        unknown = await reconciliations.unknown(ledger, scope)
        if not unknown.whole:
            return respond(_unknown(scope, unknown))
        if await reconciliations.waiting(ledger) >= _MOST_WAITING:
            return respond(problem("overloaded", "Too many reconciliations wait.", retry_after=5))
        if keyed is None:
            run = await reconciliations.request(ledger, scope, repair=data.repair, asked_by="api")
            return respond(_asked(run, is_repeat=False))
        run, was_asked = await reconciliations.request_under(
            ledger, keyed, scope, repair=data.repair, asked_by="api"
        )
        return respond(_asked(run, is_repeat=was_asked))

    @get("/", summary="Reconciliations, newest first", responses=problems("invalid"))
    async def page(limit: Limit = 100, cursor: NumberCursor = None) -> Response[ReconciliationPage]:
        runs = await reconciliations.page(ledger, before=number_after(cursor), limit=limit + 1)
        shown = [document_of(run) for run in runs[:limit]]
        next_cursor = shown[-1].id if len(runs) > limit else None
        return respond(Answer(200, ReconciliationPage(shown, next_cursor)))

    @get("/{run_id:str}", summary="A reconciliation", responses=problems("invalid", "not-found"))
    async def one(run_id: RunId) -> Response[ReconciliationDocument]:
        asked = number(run_id)
        run = None if asked is None else await reconciliations.get(ledger, asked)
        if run is None:
            return respond(problem("not-found", f"There is no reconciliation {run_id}."))
        return respond(Answer(200, document_of(run)))

    return Router(_PATH, route_handlers=[ask, page, one], tags=["Reconciliations"])


def _asked(run: Reconciliation, *, is_repeat: bool) -> Answer:
    location = (b"location", f"{_PATH}/{run.id}".encode())
    if is_repeat:
        return Answer(200, document_of(run), (*REPLAYED, location))
    return Answer(202, document_of(run), (*JSON, location))


def _unknown(scope: Scope, unknown: Scope) -> Answer:
    slug, member, asked, unknown_names = (
        ("unknown-sku", "skus", scope.skus, unknown.skus)
        if unknown.skus
        else ("unknown-location", "locations", scope.locations, unknown.locations)
    )
    errors = [
        FieldError(f"/scope/{member}/{place}", f"{name} is not known")
        for place, name in enumerate(asked)
        if name in unknown_names
    ]
    return problem(slug, "; ".join(error.message for error in errors), errors=errors)


def document_of(run: Reconciliation) -> ReconciliationDocument:
    """The run as callers see it."""
    return ReconciliationDocument(
        id=str(run.id),
        status=run.status,
        scope=run.scope,
        repair=run.repair,
        asked_by=run.asked_by,
        requested_at=timestamp_of(run.requested_at),
        started_at=None if run.started_at is None else timestamp_of(run.started_at),
        finished_at=None if run.finished_at is None else timestamp_of(run.finished_at),
        report=run.report if run.finished_at is not None else None,
    )
