"""The lane: the few hot routes, in front of Litestar, calling the same functions.

Litestar's handler costs more than a hold itself (docs/decisions); here a request is matched by
method and path and goes straight to its function. Anything else is not the lane's.
"""

from collections.abc import Awaitable, Callable, Iterable

from msgspec import Struct

from atp_service.api.responses import Answer, Call


class Hot(Struct, frozen=True):
    """A hot route: its template, and a function of call, id in the path, and body or query."""

    method: str
    template: str
    run: Callable[[Call, str, bytes], Awaitable[Answer]]


class Lane:
    """Finds a hot route by method and path. A template has at most one id, before its last part."""

    def __init__(self, routes: Iterable[Hot]) -> None:
        self._plain: dict[tuple[str, str], Hot] = {}
        self._with_id: dict[tuple[str, str, str], Hot] = {}
        for route in routes:
            if "{" in route.template:
                prefix, _, rest = route.template.partition("{")
                suffix = rest.partition("}")[2]
                self._with_id[route.method, prefix, suffix] = route
            else:
                self._plain[route.method, route.template] = route

    def match(self, method: str, path: str) -> tuple[Hot, str] | None:
        """The route and the id in the path; None where the request isn't hot."""
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain, ""
        start, end = path.find("/", 4) + 1, path.rfind("/")
        if not 0 < start < end or "/" in path[start:end]:
            return None
        found = self._with_id.get((method, path[:start], path[end:]))
        return None if found is None else (found, path[start:end])
