"""The lane in the server's protocol: the same answers, however a request comes over the wire.

What cannot happen: a request taken apart in another way than uvicorn would, two answers mixed up,
an answer lost because it came in an odd shape.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from atp_service import api
from tests.api.conftest import Service, Stocked

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(
    service: Service, *, patience_seconds: float = 30.0
) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    server = uvicorn.Server(
        uvicorn.Config(
            service.app,
            port=0,
            http=api.LaneProtocol,
            proxy_headers=False,
            lifespan="off",
            log_config=None,
        )
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
    cutting_off = asyncio.create_task(api.cut_off_slow_callers(server, patience_seconds))
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        cutting_off.cancel()
        await asyncio.wait([cutting_off])


@pytest.fixture
async def connection(service: Service, stocked: Stocked) -> AsyncIterator[Connection]:
    await stocked(100)
    async with listening(service) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()


def cart(name: str, quantity: int = 1) -> bytes:
    line = {"sku": "SKU-1", "location": "DC-1", "quantity": quantity}
    return json.dumps({"reservation_id": name, "lines": [line]}).encode()


def request(
    body: bytes, path: str = "/v1/reservations", *, head: str = "", version: str = "1.1"
) -> bytes:
    lines = f"POST {path} HTTP/{version}\r\nHost: atp\r\nContent-Length: {len(body)}\r\n{head}\r\n"
    return lines.encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


async def another_is_answered(writer: asyncio.StreamWriter) -> None:
    """Somebody else comes after all that was sent here so far, and is served."""
    other_reader, other = await asyncio.open_connection(*writer.get_extra_info("peername"))
    other.write(b"GET /health/live HTTP/1.1\r\nHost: atp\r\n\r\n")
    assert (await answer(other_reader))[0] == 200
    other.close()


async def test_a_plain_request_is_answered_as_any_other(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(cart("a"), head="X-Request-ID: mine\r\n"))
    status, headers, document = await answer(reader)
    assert (status, document["reservation_id"]) == (201, "a")
    assert headers["x-request-id"] == "mine"
    assert headers["content-type"] == "application/json"
    assert "date" in headers
    writer.write(request(cart("a")))
    status, headers, _ = await answer(reader)
    assert (status, headers["idempotent-replayed"]) == (200, "true")
    writer.write(request(b'{"lines": 1}'))
    status, headers, problem = await answer(reader)
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert problem["errors"][0]["pointer"] == "/lines"


@pytest.mark.parametrize("at", [1, 20, 60, 75, 100])
async def test_a_request_in_two_pieces_is_one_request(connection: Connection, at: int) -> None:
    reader, writer = connection
    whole = request(cart("a"))
    writer.write(whole[:at])
    await writer.drain()
    await another_is_answered(writer)  # by then the first piece has been read
    writer.write(whole[at:])
    assert (await answer(reader))[0] == 201
    writer.write(request(cart("b")))
    assert (await answer(reader))[2]["reservation_id"] == "b"


async def test_requests_sent_without_waiting_are_answered_in_their_order(
    connection: Connection,
) -> None:
    reader, writer = connection
    names = [f"cart-{i}" for i in range(6)]
    mixed = [request(cart(name)) for name in names]
    mixed.insert(3, b"GET /health/live HTTP/1.1\r\nHost: atp\r\n\r\n")
    writer.write(mixed[0])
    await writer.drain()
    writer.write(b"".join(mixed[1:]))
    told = [(await answer(reader)) for _ in mixed]
    assert [status for status, _, _ in told] == [201, 201, 201, 200, 201, 201, 201]
    assert [body.get("reservation_id") for _, _, body in told if "lines" in body] == names


@pytest.mark.parametrize(
    "head",
    [
        "Connection: keep-alive\r\n",
        "Accept: */*\r\nUser-Agent: shop/1.0 (x; y)\r\n",
        "Expect: 100-continue\r\n",
        "X-Odd:\r\n",
        "X-Long: " + "x" * 5_000 + "\r\n",
    ],
)
async def test_headers_of_any_kind_change_nothing(connection: Connection, head: str) -> None:
    reader, writer = connection
    writer.write(request(cart("a"), head=head))
    if "Expect" in head:
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await answer(reader))[0] == 201


async def test_a_page_of_another_origin_holds_nothing(connection: Connection) -> None:
    reader, writer = connection
    for head in ("Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"):
        writer.write(request(cart("a"), head=head))
        status, _, problem = await answer(reader)
        assert (status, problem["type"]) == (403, "urn:atp:problem:cross-origin")
    writer.write(request(cart("a"), head="Sec-Fetch-Site: same-origin\r\n"))
    assert (await answer(reader))[0] == 201


async def test_a_chunked_body_is_read_whole(connection: Connection) -> None:
    reader, writer = connection
    body = cart("a")
    head = b"POST /v1/reservations HTTP/1.1\r\nHost: atp\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert (await answer(reader))[0] == 201


@pytest.mark.parametrize(
    "lengths", ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: x\r\n"]
)
async def test_two_lengths_are_never_believed(connection: Connection, lengths: str) -> None:
    reader, writer = connection
    writer.write(request(cart("a"), head=lengths))
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")


async def test_who_asks_for_it_is_hung_up_on_after_the_answer(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(cart("a"), head="Connection: close\r\n"))
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (201, "close")
    async with asyncio.timeout(5):
        assert await reader.read() == b""


async def test_an_old_client_is_answered_and_hung_up_on(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(cart("a"), version="1.0"))
    assert (await answer(reader))[0] == 201
    async with asyncio.timeout(5):
        assert await reader.read() == b""


async def test_availability_is_asked_with_a_query(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET /v1/availability?sku=SKU-1&sku=no%20such HTTP/1.1\r\nHost: atp\r\n\r\n")
    status, _, body = await answer(reader)
    assert status == 200
    assert [item["ats"] for item in body["items"]] == [100, 0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/metrics", 200),
        ("/schema", 200),
        ("/v1/availability?sku=SKU-1", 200),
        ("/v1/availability?sku=", 422),
        ("/v1/skus/SKU-1", 200),
        ("/v1/skus/NOPE", 404),
        ("/v1/explain?sku=SKU-1&place=DC-1", 422),
        ("/v1/stock-events", 405),
    ],
)
async def test_a_head_is_answered_as_a_get_without_the_body(
    connection: Connection, path: str, status: int
) -> None:
    reader, writer = connection
    told = []
    for method in ("GET", "HEAD"):
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: atp\r\n\r\n".encode())
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            if method == "GET":
                await reader.readexactly(int(headers["content-length"]))
        told.append((int(head[0].split()[1]), headers["content-type"], sorted(headers)))
    assert told[0] == told[1]
    assert told[0][0] == status
    # Where a body had come after all, it would be taken for the next answer.
    writer.write(request(cart("a")))
    assert (await answer(reader))[0] == 201


@pytest.mark.parametrize("method", ["FOO", "TRACE", "post", "X-" + "Y" * 100])
async def test_a_method_nobody_knows_hears_which_are_allowed(
    connection: Connection, method: str
) -> None:
    reader, writer = connection
    for path, allowed in (
        ("/v1/reservations", "post"),
        ("/v1/skus/SKU-1", "get, head, put, delete"),
        ("/v1/availability", "get, head, post"),
    ):
        writer.write(request(b"{}", path).replace(b"POST", method.encode(), 1))
        status, headers, problem = await answer(reader)
        assert (status, headers["allow"]) == (405, allowed)
        assert problem["type"] == "urn:atp:problem:method-not-allowed"
    writer.write(request(cart("a")))
    assert (await answer(reader))[0] == 201


@pytest.mark.parametrize("path", ["/v1/skus/", "/v1/skus?cursor=", "/v1/availability?sku="])
@pytest.mark.parametrize("length", [65_536, 1_000_000])
async def test_an_address_that_is_too_long_is_called_so(
    connection: Connection, path: str, length: int
) -> None:
    reader, writer = connection
    writer.write(b"GET " + path.encode() + b"a" * (length - len(path)))
    await writer.drain()
    await another_is_answered(writer)  # by then this has been read
    writer.write(b" HTTP/1.1\r\nHost: atp\r\n\r\n")
    status, headers, problem = await answer(reader)
    assert (status, headers["connection"]) == (414, "close")
    assert problem["type"] == "urn:atp:problem:uri-too-long"


async def test_a_body_over_the_limit_is_refused(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(b" " * (64 * 1024 + 1)))
    assert (await answer(reader))[0] == 413


async def test_who_hangs_up_before_the_answer_leaves_the_others_alone(
    service: Service, stocked: Stocked
) -> None:
    await stocked(100)
    async with listening(service) as (_, port):
        for number in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(cart(f"gone-{number}")))
            writer.transport.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(cart("stays")))
        assert (await answer(reader))[0] == 201
        writer.close()


async def test_what_is_under_way_is_answered_before_the_server_stops(
    service: Service, stocked: Stocked
) -> None:
    await stocked(100)
    async with listening(service) as (server, port):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for number, (_, writer) in enumerate(opened):
            writer.write(request(cart(f"cart-{number}")))
        held = 0
        while held < 1:
            held = sum(
                [await service.store.reservation(f"cart-{n}") is not None for n in range(30)]
            )
        server.should_exit = True
        assert {(await answer(reader))[0] for reader, _ in opened} == {201}
        for _, writer in opened:
            writer.close()
