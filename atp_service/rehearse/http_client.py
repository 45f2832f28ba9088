"""HTTP/1.1 from few cycles: requests as bytes, connections that are kept and shared.

A client that costs more than the server would measure itself. The benchmarks use its parts too.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from msgspec import Struct

from atp_service.rehearse.calls import Request

# Enough that a stalled service does not hold buyers back, within any limit on open files.
MOST_CONNECTIONS = 500
_CONNECT_SECONDS = 5.0
# Servers close idle connections (ours after 5 s): one that may be closed soon is not used.
_IDLE_SECONDS = 2.0

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *([\d.]+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Unanswered(Exception):
    """No response came; `reason` is one word, such as `timeout`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer(Struct, frozen=True):
    """A response; `retry_after` is in seconds, 0 if the service named no time."""

    status: int
    body: bytes
    retry_after: float


class Address(Struct, frozen=True):
    """The service's host and port."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        """The address in `http://host:port`. Raises ValueError for any other URL."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url}: not an address that starts with http://")
        return cls(parts.hostname, parts.port or 80)

    def raw(self, request: Request) -> bytes:
        """The request as bytes for the wire."""
        return raw_request(request.method, request.path, request.body, f"{self.host}:{self.port}")


def raw_request(method: str, path: str, body: bytes, host: str) -> bytes:
    """A request with a JSON body as bytes for the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Responses(asyncio.Protocol):
    """The responses on one connection, to one request at a time.

    A subclass takes them: `on_response` gets head and body, `on_lost` the reason of a loss.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""

    def on_response(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def on_lost(self, reason: str) -> None:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's has the same methods

    def connection_lost(self, _exc: Exception | None) -> None:
        self.on_lost("reset")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head, end, body = buffer.partition(_END)
        length = _LENGTH.search(head)
        if end and len(body) >= (size := int(length[1]) if length else 0):
            self._buffer = b""
            self.on_response(head, body[:size])
        else:
            self._buffer = buffer


class Connection(Responses):
    """A connection to ask one request at a time; not `usable` once it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.usable = True
        self.idle_since = 0.0
        self._answer: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes, patience_seconds: float) -> Answer:
        """The response. Raises Unanswered, and is not usable afterwards."""
        if not self.usable or self.transport is None:
            raise Unanswered("reset")
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(patience_seconds, self.on_lost, "timeout")
        self.transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()  # the response may still come, and would be taken for the next one
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        self.usable = False
        if self.transport is not None:
            self.transport.close()

    def on_response(self, head: bytes, body: bytes) -> None:
        if _CLOSE.search(head):
            self.close()
        if self._answer is not None and not self._answer.done():
            retry_after = _RETRY.search(head)
            seconds = float(retry_after[1]) if retry_after else 0.0
            self._answer.set_result(Answer(int(head[9:12]), body, seconds))

    def on_lost(self, reason: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(reason))


class Connections:
    """Connections to one service, at most `most`."""

    def __init__(self, address: Address, most: int = MOST_CONNECTIONS) -> None:
        self._address = address
        self._room = asyncio.Semaphore(most)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one caller, who waits while all are in use. Raises Unanswered."""
        async with self._room:
            connection = self._from_idle() or await self._connect()
            try:
                yield connection
            finally:
                if connection.usable:
                    connection.idle_since = asyncio.get_running_loop().time()
                    self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()

    def _from_idle(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._address.host, self._address.port
                )
        except (OSError, TimeoutError):
            raise Unanswered("refused") from None
        return connection
