"""HTTP from few cycles: connections are kept and shared, answers read for what matters.

A client that costs more than the server would measure itself.
"""

import asyncio
from collections import deque
from urllib.parse import urlsplit

from msgspec import Struct

from atp_service.rehearse.calls import Request

# Enough that a stalled service doesn't keep buyers from its door, within any limit on open files.
MOST_CONNECTIONS = 500
# Servers close what is idle (ours after 5 s): what is about to be closed isn't used again.
_IDLE_SECONDS = 2.0

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_RETRY = b"retry-after: "


class Unanswered(Exception):
    """No answer: why, in one word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer(Struct, frozen=True):
    """What came back; `retry_after` is in seconds, 0 where the service didn't say."""

    status: int
    body: bytes
    retry_after: float


class Address(Struct, frozen=True):
    """Where the service is."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        """ValueError for what isn't http://host:port."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url}: not an address that starts with http://")
        return cls(parts.hostname, parts.port or 80)

    def raw(self, request: Request) -> bytes:
        """The request as it goes over the wire."""
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(request.body)}\r\n\r\n"
        )
        return head.encode() + request.body


class Connections:
    """Connections to one service: a free one, a new one, or a wait for one."""

    def __init__(self, address: Address, most: int = MOST_CONNECTIONS) -> None:
        self._address = address
        self._most = most
        self._open = 0
        self._free: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self.opened = 0

    async def take(self) -> "Connection":
        """A connection, to be given back. Raises Unanswered."""
        while True:
            while self._free:
                connection = self._free.pop()
                if connection.is_fresh():
                    return connection
                connection.close()
                self._open -= 1
            if self._open < self._most:
                return await self._connect()
            waiter: asyncio.Future[Connection | None]
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            if (given := await waiter) is not None:
                return given

    def give_back(self, connection: "Connection") -> None:
        given = connection if connection.usable else None
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                # None: there is room for a new one.
                self._open -= given is None
                waiter.set_result(given)
                return
        if given is None:
            self._open -= 1
        else:
            given.rest()
            self._free.append(given)

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    async def _connect(self) -> "Connection":
        self._open += 1
        try:
            async with asyncio.timeout(5):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._address.host, self._address.port
                )
        except (OSError, TimeoutError):
            self._open -= 1
            self._wake_one()
            raise Unanswered("refused") from None
        except BaseException:
            self._open -= 1
            raise
        self.opened += 1
        return connection

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.usable = True
        self._idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._buffer = b""

    async def ask(self, request: bytes, patience_seconds: float) -> Answer:
        """The answer. Raises Unanswered, and isn't usable any more then."""
        loop = asyncio.get_running_loop()
        if not self.usable or self._transport is None:
            raise Unanswered("reset")
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._buffer = b""
        timer = loop.call_later(patience_seconds, self._fail, "timeout")
        self._transport.write(request)
        try:
            return await answer
        except asyncio.CancelledError:
            self.close()  # an answer that nobody waits for may still come
            raise
        finally:
            timer.cancel()
            self._answer = None

    def rest(self) -> None:
        """Nobody needs it for now."""
        self._idle_since = asyncio.get_running_loop().time()

    def is_fresh(self) -> bool:
        """Whether it may be used again without a risk that it is being closed."""
        idle_seconds = asyncio.get_running_loop().time() - self._idle_since
        return self.usable and idle_seconds < _IDLE_SECONDS

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one, by duck

    def connection_lost(self, _exc: Exception | None) -> None:
        self._fail("reset")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(_END)
        if end >= 0:
            head = buffer[:end].lower()
            size = int(_value(head, _LENGTH) or 0)
            body_at = end + len(_END)
            if len(buffer) >= body_at + size:
                if b"connection: close" in head:
                    self.close()
                answer = Answer(
                    int(head[9:12]),
                    buffer[body_at : body_at + size],
                    float(_value(head, _RETRY) or 0),
                )
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(answer)
                return
        self._buffer = buffer

    def _fail(self, reason: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(reason))


def _value(head: bytes, name: bytes) -> bytes:
    at = head.find(name)
    if at < 0:
        return b""
    at += len(name)
    end = head.find(b"\r", at)
    return head[at:] if end < 0 else head[at:end]
