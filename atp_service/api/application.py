"""Puts the edge together: the lane in front, Litestar behind, the same functions in both."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

from litestar import Litestar, Request
from litestar.exceptions import (
    ClientException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.response import Response
from msgspec import structs

import atp_service
from atp_service.api import (
    availability,
    exceptions,
    explain,
    health,
    master_data,
    reconciliations,
    reservations,
    stock_events,
    trace,
)
from atp_service.api.edge import Edge
from atp_service.api.fast_path.hot_routes import Lane
from atp_service.api.litestar_routes import DEPENDENCIES, prepare, respond
from atp_service.api.problems import for_exception, invalid, no_body, problem
from atp_service.api.request_decoding import SLASH
from atp_service.api.responses import Answer, Call
from atp_service.api.schema import Shapes, openapi_config
from atp_service.availability import Availability
from atp_service.catalog import Catalog
from atp_service.facts import Facts
from atp_service.ledger import Ledger
from atp_service.promises import Promises
from atp_service.store import Store

_MISSING = re.compile(r"Missing required \w+ parameter '(?P<name>[^']+)'")


def create(
    *,
    store: Store,
    ledger: Ledger,
    catalog: Catalog,
    facts: Facts,
    auto_create: bool,
    now_ms: Callable[[], int],
    durability: Literal["redis", "ledger"] = "redis",
    dedupe_hours: int = 24,
    ledger_timeout_seconds: float = 5.0,
    nats_connected: Callable[[], bool] | None = None,
) -> Edge:
    """The ASGI application. Its parts are open; the caller closes them."""
    promises = Promises(
        store=store,
        ledger=ledger,
        catalog=catalog,
        auto_create=auto_create,
        durability=durability,
        ledger_timeout_seconds=ledger_timeout_seconds,
    )
    numbers = Availability(store=store, catalog=catalog, auto_create=auto_create, now_ms=now_ms)
    reasons = explain.Explain(
        store=store, ledger=ledger, catalog=catalog, auto_create=auto_create, now_ms=now_ms
    )
    states = health.Health(store=store, ledger=ledger, nats_connected=nats_connected)
    shapes = Shapes()
    litestar = Litestar(
        route_handlers=[
            reservations.routes(promises),
            availability.routes(numbers),
            stock_events.routes(stock_events.StockEvents(facts, store, ledger, durability)),
            *master_data.routes(catalog, store, dedupe_hours),
            explain.routes(reasons),
            trace.routes(store, ledger),
            exceptions.routes(ledger),
            reconciliations.routes(ledger, dedupe_hours),
            health.routes(states),
        ],
        dependencies=DEPENDENCIES,
        before_request=prepare,
        exception_handlers={Exception: _problem_of},
        openapi_config=openapi_config(shapes, atp_service.__version__),
        plugins=[shapes],
        logging_config=None,
        # The edge has limited the body already.
        request_max_body_size=None,
    )
    lane = Lane([*reservations.hot_routes(promises), *availability.hot_routes(numbers)])
    return Edge(lane, litestar)


def _problem_of(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Litestar's own refusals in our words; any other fault gets the answer it gets in the lane."""
    call: Call = request.scope["state"]["call"]
    return respond(_answer_for(request, error, call.request_id))


def _answer_for(request: Request[Any, Any, Any], error: Exception, request_id: str) -> Answer:
    match error:
        case NotFoundException():
            path = request.scope["path"].replace(SLASH, "%2F")
            return problem("not-found", f"There is nothing at {path}.")
        case MethodNotAllowedException():
            allowed = ", ".join(_allowed(request))
            answer = problem("method-not-allowed", f"Allowed here: {allowed}.")
            return structs.replace(answer, headers=(*answer.headers, (b"allow", allowed.encode())))
        case ValidationException():
            return _invalid_parameters(error)
        case ClientException():
            return problem("malformed", error.detail)
        case _:
            return for_exception(error, request_id, request.method)


def _allowed(request: Request[Any, Any, Any]) -> Iterator[str]:
    """The methods that the path knows; Litestar doesn't list them. HEAD comes with GET."""
    route_to = request.app.asgi_router.handle_routing
    path = request.scope["path"].rstrip("/")
    for method in ("GET", "POST", "PUT", "DELETE"):
        with suppress(MethodNotAllowedException, NotFoundException):
            route_to(path=path, method=method)
            yield from ("GET", "HEAD") if method == "GET" else (method,)


def _invalid_parameters(error: ValidationException) -> Answer:
    extra = error.extra if isinstance(error.extra, list) else []
    fields = [(f"/{item.get('key', '')}", str(item.get("message", ""))) for item in extra]
    if missing := _MISSING.match(error.detail):
        fields = [(f"/{missing['name']}", "required, and missing")]
    if any(pointer == "/data" for pointer, _ in fields):
        return no_body()
    return invalid(*(fields or [("", error.detail)]))
