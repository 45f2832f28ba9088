"""The service over HTTP, as its customers call it: every call may be repeated, so it is."""

from collections.abc import Sequence
from typing import Any

import httpx
import stamina

_LATER = frozenset({429, 500, 502, 503, 504})


class Away(Exception):
    """The service answered that it can't now; asking again is safe."""


class Service:
    """Answers come back whatever their status, except those that only say to ask again."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """One call, for as long as it takes until somebody answers it."""
        async for attempt in stamina.retry_context(
            on=(httpx.TransportError, Away), attempts=None, timeout=None, wait_max=2
        ):
            with attempt:
                answer = await self._client.request(method, path, json=body)
                if answer.status_code in _LATER:
                    raise Away(f"{method} {path}: {answer.status_code}")
                return answer
        raise AssertionError("stamina stops only with an answer")

    async def levels(self, skus: Sequence[str], channel: str = "web") -> list[dict[str, Any]]:
        """The items of an availability answer, in the order asked."""
        answer = await self.call(
            "POST", "/v1/availability", {"skus": list(skus), "channel": channel}
        )
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items
