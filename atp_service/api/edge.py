"""Where requests come in: one set of limits, ids, errors and metrics, for lane and Litestar."""

from collections.abc import Callable
from time import perf_counter

from msgspec.json import encode
from prometheus_client import Histogram

from atp_service.api.asgi import Application, Message, Receive, Scope, Send
from atp_service.api.fast_path.hot_routes import Hot, Lane
from atp_service.api.problems import Refused, for_exception, problem
from atp_service.api.request_decoding import (
    Gone,
    call_of,
    check_key,
    is_from_a_foreign_page,
    path_of,
    query_of,
    whole_body,
)
from atp_service.api.responses import Answer, Call
from atp_service.metrics import LATENCY_BUCKETS, REGISTRY

_RESERVATIONS = "/v1/reservations/"
RESERVATION_BYTES = 64 * 1024
_OTHER_BYTES = 1024 * 1024
_CHANGING = frozenset({"POST", "PUT", "DELETE"})

_seconds = Histogram(
    "atp_http_request_seconds",
    "Time to answer, by route and status",
    ["method", "route", "status"],
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
_observers: dict[tuple[str, str, int], Callable[[float], None]] = {}


class Edge:
    """The ASGI application. The server may hand it requests of the lane without the ASGI."""

    def __init__(self, lane: Lane, litestar: Application) -> None:
        self.lane = lane
        self._litestar = litestar

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._litestar(scope, receive, send)
            return
        started = perf_counter()
        if scope["method"] == "HEAD":
            # A GET all the way; the server's own scope is still a HEAD, which leaves the body out.
            scope = {**scope, "method": "GET"}
        method = scope["method"]
        headers = dict(scope["headers"])
        call = call_of(headers)
        template = "unmatched"
        try:
            if method in _CHANGING and is_from_a_foreign_page(headers):
                raise Refused(problem("cross-origin", "A page of another origin sent this."))
            path = path_of(scope)
            of_reservations = f"{path}/".startswith(_RESERVATIONS)
            limit = RESERVATION_BYTES if of_reservations else _OTHER_BYTES
            body = await whole_body(receive, headers.get(b"content-length"), limit)
            hot = self.lane.match(method, path)
            if hot is not None:
                payload = body if method == "POST" else scope["query_string"]
                await _send(send, await self.answer(*hot, call, payload, started), call)
                return
            self.admit(call)
            query_of(scope["query_string"])
            scope["path"] = path
            status = await self._through_litestar(scope, receive, send, call, body)
            template = scope.get("path_template") or template
        except Gone:
            return
        except Exception as error:
            status = await _send(send, for_exception(error, call.request_id, method), call)
        _observe(method, template, status, perf_counter() - started)

    def admit(self, call: Call) -> None:
        """Every call passes here once, by whichever front it came. Raises Refused if it may not."""
        if call.key is not None:
            check_key(call.key)

    async def answer(
        self, route: Hot, segment: str, call: Call, payload: bytes, started: float
    ) -> Answer:
        """A hot route's answer, whatever happens; `payload` is the body, or a GET's query."""
        try:
            self.admit(call)
            answered = await route.run(call, segment, payload)
        except Exception as error:
            answered = for_exception(error, call.request_id, route.method)
        seconds = perf_counter() - started
        _observe(route.method, route.template, answered.status, seconds)
        return answered

    async def _through_litestar(
        self, scope: Scope, receive: Receive, send: Send, call: Call, body: bytes
    ) -> int:
        """The status that Litestar answered."""
        status = 0
        request_id = (b"x-request-id", call.request_id.encode())
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], request_id]
            await send(message)

        scope.setdefault("state", {})["call"] = call
        await self._litestar(scope, receive_again, send_with_id)
        return status


def _observe(method: str, route: str, status: int, seconds: float) -> None:
    """One answered request; `route` is the path's template."""
    key = (method, route, status)
    observe = _observers.get(key)
    if observe is None:
        observe = _observers[key] = _seconds.labels(method, route, status).observe
    observe(seconds)


async def _send(send: Send, answer: Answer, call: Call) -> int:
    body = encode(answer.content)
    headers = [
        *answer.headers,
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", call.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return answer.status
