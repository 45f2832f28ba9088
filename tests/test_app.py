"""A worker's roles stand and fall together."""

import asyncio

import pytest

from atp_service.app import _role


async def test_a_role_that_fails_has_the_others_finish_and_stop() -> None:
    stop = asyncio.Event()

    async def fails() -> None:
        raise LookupError("nobody thought of this")

    async def goes_on() -> str:
        await stop.wait()
        return "finished"

    other = asyncio.create_task(goes_on())
    with pytest.raises(LookupError):
        await _role(fails, stop)
    async with asyncio.timeout(5):
        assert await other == "finished"
