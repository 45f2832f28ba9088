"""Callers who keep a connection and don't get on: a request that doesn't arrive, an answer that
isn't taken. Without a limit a few thousand of them would be all the connections we have.

One look over all connections now and then finds them, so that a request itself pays nothing for it.
Looks are counted and not seconds: where this process was stopped for a while, what came meanwhile
is read before anybody is blamed for it.
"""

import asyncio

import uvicorn

from atp_service.api.fast_path.http_protocol import LaneProtocol

_LOOKS = 10


async def cut_off_slow_callers(server: uvicorn.Server, patience_seconds: float) -> None:
    """Hangs up on whoever owes the same request or the same answer's taking for that long, give or
    take a tenth; until cancelled."""
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
