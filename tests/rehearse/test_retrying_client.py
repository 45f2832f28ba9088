"""The client against a door that stalls, slams and mumbles: no stall can hide, no answer is made
up, and what never came is asked again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from atp_service.rehearse.calls import Request
from atp_service.rehearse.http_client import Address
from atp_service.rehearse.retrying_client import RetryingClient

REQUEST = Request("POST", "/v1/reservations", b"{}", "hold")
CREATED = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"
LATER = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"

Door = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def behind(
    door: Door, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[RetryingClient]:
    """A client of a server that does with the n-th request what `door` says."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await reader.read(1 << 16):
            requests += 1
            await door(requests, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    patient = RetryingClient(
        Address("127.0.0.1", port),
        patience_seconds=0.3,
        gives_up_seconds=2.0,
        chance=Random(1),
        clock=clock,
    )
    patient.begin()
    try:
        yield patient
    finally:
        patient.connections.close()
        server.close()


async def test_what_is_due_while_the_door_stalls_waits_as_long_as_the_stall() -> None:
    seconds = 0.0
    all_came, opened = asyncio.Event(), asyncio.Event()

    async def stalls(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 10:
            all_came.set()
        await opened.wait()
        writer.write(CREATED)

    async with behind(stalls, clock=lambda: seconds) as patient:
        calls = [asyncio.create_task(patient.ask(REQUEST, 0.02 * n)) for n in range(10)]
        await all_came.wait()
        seconds = 0.25
        opened.set()
        asked = await asyncio.gather(*calls)
    # Each counts from when it was due: the first waited longest, none waited for another.
    assert [one.answered - 0.02 * n for n, one in enumerate(asked)] == [
        0.25 - 0.02 * n for n in range(10)
    ]
    assert all(one.answer and one.answer.status == 201 and not one.faults for one in asked)


async def test_a_timeout_a_reset_and_a_503_are_asked_again_until_an_answer_comes() -> None:
    async def grudging(number: int, writer: asyncio.StreamWriter) -> None:
        match number:
            case 1:
                pass  # says nothing
            case 2:
                writer.close()
            case 3:
                writer.write(LATER)
            case _:
                for part in (CREATED[:20], CREATED[20:-1], CREATED[-1:]):
                    writer.write(part)
                    await writer.drain()

    async with behind(grudging) as patient:
        asked = await patient.ask(REQUEST, 0.0)
    assert asked.answer is not None
    assert (asked.answer.status, asked.answer.body) == (201, b"{}")
    assert asked.faults == ["timeout", "reset", "503"]
    assert 0.3 <= asked.fault_times[0] <= asked.answered
    assert asked.sent < 0.3


async def test_a_door_that_never_answers_is_given_up_and_no_answer_is_made_up() -> None:
    async def silent(number: int, writer: asyncio.StreamWriter) -> None:
        pass

    async with behind(silent) as patient:
        asked = await patient.ask(REQUEST, 0.0)
    assert asked.answer is None
    assert set(asked.faults) == {"timeout"}
    assert 1.0 < asked.answered <= 2.5


async def test_where_nobody_listens_that_is_said() -> None:
    async def unused(number: int, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with behind(unused) as patient:
        pass
    asked = await patient.ask(REQUEST, 0.0)
    assert asked.answer is None
    assert asked.sent == 0.0
    assert set(asked.faults) == {"refused"}
