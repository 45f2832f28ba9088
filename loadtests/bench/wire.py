"""HTTP load from few cycles: requests built beforehand, responses read for status and length."""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from statistics import quantiles

import uvloop
from msgspec import Struct

from atp_service.rehearse.http_client import Responses, raw_request
from loadtests.bench.machine import cpu_seconds

CONNECTIONS = 64


class Load(Struct, frozen=True):
    """What a round of requests took; CPU is the server's, `client_cpu_seconds` our own."""

    requests: int
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_micros(self) -> float:
        return self.cpu_seconds / self.requests * 1e6

    @property
    def client_cpu_micros(self) -> float:
        return self.client_cpu_seconds / self.requests * 1e6

    def percentile_ms(self, percent: int) -> float:
        return quantiles(self.latencies, n=100)[percent - 1] * 1000


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A request with a JSON body."""
    return raw_request("POST", path, body, "127.0.0.1")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def drive(
    port: int,
    pid: int,
    requests: Sequence[bytes],
    *,
    status: int = 201,
    connections: int = CONNECTIONS,
) -> Load:
    """Send the requests over keep-alive connections, each as soon as one is free.

    RuntimeError if any is answered with another status.
    """
    return uvloop.run(_drive(port, pid, requests, b"HTTP/1.1 %d" % status, connections))


async def _drive(
    port: int, pid: int, requests: Sequence[bytes], status: bytes, connections: int
) -> Load:
    left = iter(requests)
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: _Connection(left, latencies, status), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    server, client, began = cpu_seconds(pid), time.process_time(), time.perf_counter()
    for _, connection in made:
        connection.next()
    try:
        await asyncio.gather(*[connection.done for _, connection in made])
        return Load(
            len(requests),
            time.perf_counter() - began,
            cpu_seconds(pid) - server,
            time.process_time() - client,
            latencies,
        )
    finally:
        for transport, _ in made:
            transport.close()


class _Connection(Responses):
    """Sends one request after the other, until none is left."""

    def __init__(self, left: Iterator[bytes], latencies: list[float], status: bytes) -> None:
        super().__init__()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._status = status
        self._left = left
        self._latencies = latencies
        self._sent_at = 0.0

    def next(self) -> None:
        assert self.transport is not None
        request = next(self._left, None)
        if request is None:
            self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def on_response(self, head: bytes, body: bytes) -> None:
        if not head.startswith(self._status):
            answer = (head + b" " + body)[:600].decode(errors="replace")
            self._fail(f"unexpected answer: {answer}")
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        self.next()

    def on_lost(self, reason: str) -> None:
        self._fail(f"the connection was closed: {reason}")

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))
