"""uvicorn's HTTP protocol, with the lane at its front.

On a hot route most of what a request costs is the server's own bookkeeping: a scope, a cycle, an
event, messages back and forth, two writes. A request of the plain shape that checkouts send –
in one piece, nothing special in its headers – is taken here, goes straight to
the same function and leaves in one write. Whatever looks otherwise is uvicorn's, unread.
"""

import asyncio
import re
from http import HTTPStatus
from time import perf_counter

from msgspec.json import encode
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atp_service.api.edge import RESERVATION_BYTES, Edge
from atp_service.api.fast_path.hot_routes import Hot
from atp_service.api.problems import problem
from atp_service.api.request_decoding import call_of
from atp_service.api.responses import Answer, Call
from atp_service.metrics import REGISTRY

_HEAD = re.compile(
    rb"(GET|POST) ([\w./~:@!$&'()*+,;=-]+)(?:\?([!$-~]*))? HTTP/1\.1\r\n"
    rb"((?:[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e]*\r\n)+)\r\n",
    re.ASCII,
).match
_NAMED = re.compile(
    rb"^(content-length|transfer-encoding|connection|expect|upgrade"
    rb"|origin|sec-fetch-site|x-request-id|idempotency-key|traceparent):[\t ]*(.*?)[\t ]*\r$",
    re.IGNORECASE | re.MULTILINE,
).findall
_METHOD = re.compile(rb"([\w!#$%&'*+.^`|~-]+) /", re.ASCII).match
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
_URL_BYTES = 64 * 1024 - 1  # as much as can be taken apart
# Nor the headers of browsers: the edge checks the origin of the page.
_NOT_PLAIN = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"origin", b"sec-fetch-site"})
_LENGTH_DIGITS = 9
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

_slow_callers = Counter(
    "atp_http_slow_callers",
    "Callers hung up on, by what they owed: the rest of a request, or taking the answer",
    ["owed"],
    registry=REGISTRY,
)


class LaneProtocol(HttpToolsProtocol):
    """For uvicorn's `http` setting; the application must be an Edge."""

    app: Edge

    _in_message = False  # uvicorn's parser has part of a request
    _held = b""  # what came while a request of the lane was being answered

    def data_received(self, data: bytes) -> None:
        turn = self.cycle
        if isinstance(turn, _Turn) and not turn.response_complete:
            self._held += data
            self.flow.pause_reading()
            return
        between_requests = turn is None or turn.response_complete
        if self._in_message or not between_requests:
            super().data_received(data)
        elif not self._take(data):
            super().data_received(_with_a_known_method(data))

    def on_message_begin(self) -> None:
        self._in_message = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) <= _URL_BYTES:  # what is more is read, and not kept
            super().on_url(url)

    def on_headers_complete(self) -> None:
        if len(self.url) > _URL_BYTES:
            raise ValueError("too long")  # ends the parser, which has the 400 below sent
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def owed(self) -> object | None:
        """What we wait for the caller to send or to take; the same thing for as long as it is the
        same. None while the answer is ours to give, and between requests: uvicorn ends that."""
        turn = self.cycle
        if self.transport.get_write_buffer_size():
            return turn or self
        arriving = self._in_message and (turn is None or turn.response_complete or turn.more_body)
        if arriving and not self.pipeline:
            return self.scope
        idle = not self._in_message and (turn is None or turn.response_complete)
        return (turn or self) if idle and self.timeout_keep_alive_task is None else None

    def cut_off(self) -> None:
        """Hang up on a caller that owes us something, with an answer if a request has begun."""
        turn = self.cycle
        if self.transport.get_write_buffer_size():
            _slow_callers.labels("answer").inc()
            self.transport.abort()  # to close it would wait for the caller once more
            return
        _slow_callers.labels("request").inc()
        if turn is not None and not turn.response_complete:
            turn.disconnected = True
            turn.message_event.set()
            answer = problem("request-timeout", "The rest of the request didn't come in time.")
            call = call_of(dict(turn.scope["headers"]))
            self.transport.write(self._response(answer, call, keep_alive=False))
        self.transport.close()

    def _take(self, data: bytes) -> bool:
        """Whether this is a whole request for a hot route, of the plain shape; then it is taken."""
        head = _HEAD(data)
        if head is None:
            return False
        method, path, query, lines = head.groups(b"")
        hot = self.app.lane.match(method.decode(), path.decode())
        if hot is None:
            return False
        named = _NAMED(lines)
        headers = {name.lower(): value for name, value in named}
        length = headers.get(b"content-length", b"0")
        if (
            len(headers) != len(named)
            or not length.isdigit()
            or len(length) > _LENGTH_DIGITS
            or len(data) != head.end() + int(length)
            or int(length) > RESERVATION_BYTES
            or not _NOT_PLAIN.isdisjoint(headers)
            or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        ):
            return False
        self._unset_keepalive_if_required()
        turn = _Turn()
        self.cycle = turn  # type: ignore[assignment]
        route, segment = hot
        payload = query if method == b"GET" else data[head.end() :]
        answering = self._answer(turn, route, segment, call_of(headers), payload)
        task = self.loop.create_task(answering)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return True

    async def _answer(
        self, turn: "_Turn", route: Hot, segment: str, call: Call, payload: bytes
    ) -> None:
        answer = await self.app.answer(route, segment, call, payload, perf_counter())
        if self.flow.write_paused and not turn.disconnected:
            await self.flow.drain()
        if not turn.disconnected:
            self.transport.write(self._response(answer, call, keep_alive=turn.keep_alive))
        turn.response_complete = True
        held, self._held = self._held, b""
        if not turn.keep_alive:
            # Stopping: what came after this request was never taken, and its sender sees that.
            self.transport.close()
        self.on_response_complete()
        if held and not self.transport.is_closing():
            self.data_received(held)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all is answered as any other problem, and hung up on."""
        call = call_of({})
        if self._in_message and len(self.url) > _URL_BYTES:
            answer = problem("uri-too-long", f"A path and its query may have {_URL_BYTES} bytes.")
        else:
            answer = problem("malformed", msg)
        self.transport.write(self._response(answer, call, keep_alive=False))
        self.transport.close()

    def _response(self, answer: Answer, call: Call, *, keep_alive: bool) -> bytes:
        body = encode(answer.content)
        parts = [_STATUS_LINES[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer.headers):
            parts += (name, b": ", value, b"\r\n")
        if not keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(
            b"content-length: %d\r\nx-request-id: %b\r\n\r\n"
            % (len(body), call.request_id.encode())
        )
        parts.append(body)
        return b"".join(parts)


def _with_a_known_method(data: bytes) -> bytes:
    """The beginning of a request; for the parser what it doesn't know as a method is no HTTP. Like
    PATCH it is allowed nowhere, and as such the caller hears what is."""
    method = _METHOD(data)
    if method is None or method[1] in _METHODS:
        return data
    return b"PATCH" + data[method.end(1) :]


class _Turn:
    """A request of the lane, as much of a cycle as uvicorn wants to see of one."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    more_body = False

    def __init__(self) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False
        self.message_event = _NEVER_AWAITED


class _NeverAwaited(asyncio.Event):
    """The body is here already: no task waits for more of it."""

    def set(self) -> None:
        return


_NEVER_AWAITED = _NeverAwaited()
