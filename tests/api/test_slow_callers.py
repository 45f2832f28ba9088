"""Who doesn't get on with a request, or with taking the answer, doesn't keep a connection for it.

What cannot happen: a connection that is held for longer than the patience by a caller; anybody cut
off who waits for us.
"""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from redis.asyncio import Redis

from atp_service import metrics
from tests.api.conftest import Service, Stocked
from tests.api.test_server import Connection, answer, cart, listening, request
from tests.retailer import until

PATIENCE_SECONDS = 0.3
WHOLE = request(cart("slow"), head="X-Request-ID: mine\r\n")
BODY = len(cart("slow"))


@pytest.fixture
async def impatient(
    service: Service, stocked: Stocked
) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server that waits for callers for a third of a second."""
    await stocked(100)
    async with listening(service, patience_seconds=PATIENCE_SECONDS) as (server, port):
        yield server, port


@pytest.fixture
async def connection(impatient: tuple[uvicorn.Server, int]) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient[1])
    yield reader, writer
    writer.close()


def slow_callers(owed: str) -> float:
    """How many were hung up on, of those who owed that."""
    return metrics.REGISTRY.get_sample_value("atp_http_slow_callers_total", {"owed": owed}) or 0


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server hangs up."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:  # it hung up while we were still sending
            return b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n", b"P", b"POST /v1/reservations HTTP/1.1\r\nHost: a", WHOLE[: -BODY - 2]],
    ids=["nothing", "a blank line", "a letter", "half a header", "all but a blank line"],
)
async def test_who_never_comes_to_the_point_is_hung_up_on(
    connection: Connection, sent: bytes
) -> None:
    reader, writer = connection
    writer.write(sent)
    assert await rest(reader) == b""


@pytest.mark.parametrize(
    "sent",
    [
        WHOLE[:-BODY],
        WHOLE[:-1],
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")[:-1],
        WHOLE.replace(b"POST /v1/reservations", b"PUT /v1/skus/SKU-1")[:-1],
        b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\nContent-Length: 1\r\n\r\n",
        WHOLE.replace(b"Content-Length: %d" % BODY, b"Transfer-Encoding: chunked")[:-BODY]
        + b"5\r\n{    \r\n",
    ],
    ids=["no body", "all but a byte", "an old client", "not of the lane", "a GET", "chunked"],
)
async def test_a_body_that_stays_away_is_a_problem_and_the_end(
    connection: Connection, service: Service, sent: bytes
) -> None:
    reader, writer = connection
    writer.write(sent)
    status, headers, problem = await answer(reader)
    assert (status, headers["content-type"]) == (408, "application/problem+json")
    assert (headers["connection"], headers["x-request-id"]) == ("close", "mine")
    assert (problem["type"], problem["status"]) == ("urn:atp:problem:request-timeout", 408)
    assert await rest(reader) == b""
    assert await service.store.reservation("slow") is None


async def test_a_byte_now_and_then_buys_no_time(connection: Connection) -> None:
    reader, writer = connection
    told = asyncio.create_task(answer(reader))
    for place in range(len(WHOLE) - 1):
        writer.write(WHOLE[place : place + 1])
        done, _ = await asyncio.wait({told}, timeout=0.001 if place < len(WHOLE) - BODY else 0.1)
        if done:
            break
    assert (await told)[0] == 408


async def test_what_follows_an_answered_request_has_as_long_again_and_no_longer(
    connection: Connection,
) -> None:
    reader, writer = connection
    writer.write(request(cart("a")))
    assert (await answer(reader))[0] == 201
    writer.write(WHOLE[:-1])
    assert (await answer(reader))[0] == 408
    assert await rest(reader) == b""


async def test_who_goes_on_with_what_was_refused_is_hung_up_on(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(b" " * (64 * 1024 + 1))[:-1000])
    assert (await answer(reader))[0] == 413
    hung_up = asyncio.create_task(rest(reader))
    for _ in range(500):
        writer.write(b" ")
        done, _ = await asyncio.wait({hung_up}, timeout=0.05)
        if done:
            break
    assert await hung_up == b""


async def test_blank_lines_after_an_answer_keep_nobody_connected(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(cart("a")) + b"\r\n")
    assert (await answer(reader))[0] == 201
    writer.write(b"\r\n")
    assert await rest(reader) == b""


async def test_between_two_requests_the_connection_is_kept(connection: Connection) -> None:
    reader, writer = connection
    writer.write(request(cart("a")))
    assert (await answer(reader))[0] == 201
    told = asyncio.create_task(answer(reader))
    done, _ = await asyncio.wait({told}, timeout=4 * PATIENCE_SECONDS)
    assert not done
    writer.write(request(cart("b")))
    assert (await told)[2]["reservation_id"] == "b"


@pytest.mark.parametrize("path", ["/v1/reservations", "/v1/reservations/"])  # the lane, Litestar
async def test_who_waits_for_us_is_not_hurried(
    connection: Connection, redis: Redis, path: str
) -> None:
    reader, writer = connection
    await redis.client_pause(int(5_000 * PATIENCE_SECONDS), all=True)
    # Half a request behind a whole one is not late either while we don't read it.
    writer.write(request(cart("a"), path) + request(cart("b"), path)[:-1])
    assert (await answer(reader))[0] == 201
    assert (await answer(reader))[0] == 408


@pytest.mark.parametrize(
    "question",
    [
        b"GET /schema/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/availability?%b HTTP/1.1\r\nHost: a\r\n\r\n"
        % b"&".join(b"sku=NOPE-%d" % n for n in range(1_000)),
    ],
    ids=["a file", "the lane"],
)
async def test_an_answer_that_nobody_reads_is_not_kept_for_them(
    impatient: tuple[uvicorn.Server, int], question: bytes
) -> None:
    server, port = impatient
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.setblocking(False)
    await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", port))

    async def keeps_asking() -> bool:
        """As much as the kernel takes of it; then the server has stopped reading."""
        try:
            while True:
                deaf.send(question)
        except BlockingIOError:
            return True

    counted = slow_callers("answer")

    async def connected() -> bool:
        return len(server.server_state.connections) == 1

    async def gone() -> bool:
        return not server.server_state.connections

    await until(connected)
    await until(keeps_asking)
    await until(gone)
    assert slow_callers("answer") == counted + 1
    deaf.close()
