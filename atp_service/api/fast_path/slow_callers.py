"""Callers that keep a connection without progress: the request doesn't arrive, or the answer isn't
taken. Without a limit a few thousand of them would hold all the connections we have.

A look over all connections now and then finds them, so that a request itself pays nothing for it.
Looks are counted and not seconds: if this process was stopped for a while, what came meanwhile is
read before a caller is blamed for it.
"""

import asyncio

import uvicorn

from atp_service.api.fast_path.http_protocol import LaneProtocol

_LOOKS = 10


async def cut_off_slow_callers(server: uvicorn.Server, patience_seconds: float) -> None:
    """Hangs up on callers that owe the rest of a request, or don't take an answer, for that long
    (give or take a tenth). Runs until it is cancelled."""
    seen: dict[LaneProtocol, tuple[object, int]] = {}
    while True:
        await asyncio.sleep(patience_seconds / _LOOKS)
        waiting = {}
        for connection in tuple(server.server_state.connections):
            if not isinstance(connection, LaneProtocol) or (owed := connection.owed()) is None:
                continue
            before, looks = seen.get(connection, (None, 0))
            looks = looks + 1 if owed is before else 0
            if looks < _LOOKS:
                waiting[connection] = owed, looks
            else:
                connection.cut_off()
        seen = waiting
