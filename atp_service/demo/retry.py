"""Retries for as long as the service or NATS is away: the retailer's customers are patient."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0

T = TypeVar("T")


async def retried(attempt: Callable[[], Awaitable[T]], on: tuple[type[Exception], ...]) -> T:
    """The result of the first attempt that raises none of `on`. Each wait is twice the last one."""
    wait_seconds = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await attempt()
        except on:
            await asyncio.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
