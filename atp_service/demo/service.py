"""The service over HTTP, as its customers call it, with retries: every repeat is harmless."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0
_LATER = frozenset({429, 500, 502, 503, 504})


class Away(Exception):
    """The service can't answer now; a retry is safe."""


class Service:
    """Returns answers of any status but those that only ask for a retry."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """The answer to one call, however long the service is away."""

        async def attempt() -> httpx2.Response:
            answer = await self._client.request(method, path, json=body)
            if answer.status_code in _LATER:
                raise Away(f"{method} {path}: {answer.status_code}")
            return answer

        return await retried(attempt, on=(httpx2.TransportError, Away))

    async def levels(self, skus: Sequence[str], channel: str = "web") -> list[dict[str, Any]]:
        """The items of `POST /v1/availability`, in the order of `skus`."""
        answer = await self.call(
            "POST", "/v1/availability", {"skus": list(skus), "channel": channel}
        )
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items


async def retried(attempt: Callable[[], Awaitable[T]], on: tuple[type[Exception], ...]) -> T:
    """The result of the first attempt that raises none of `on`. Each wait is twice the last one."""
    wait_seconds = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await attempt()
        except on:
            await asyncio.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
