"""A worker's roles stand and fall together."""

import asyncio
from pkgutil import iter_modules

import pytest

from atp_service import workers
from atp_service.app import _until_stopped


async def test_a_role_that_fails_has_the_others_finish_and_stop() -> None:
    stop = asyncio.Event()

    async def fails() -> None:
        raise LookupError("nobody thought of this")

    async def goes_on() -> str:
        await stop.wait()
        return "finished"

    other = asyncio.create_task(goes_on())
    with pytest.raises(LookupError):
        await _until_stopped(fails(), stop)
    async with asyncio.timeout(5):
        assert await other == "finished"


def test_each_folder_of_a_role_is_a_role_of_the_worker() -> None:
    assert {module.name for module in iter_modules(workers.__path__)} == set(workers.ROLES)
