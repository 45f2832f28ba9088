"""What most people would build instead, in the place of our application in `atp serve`.

`evalsha`: a typed Litestar handler that sends one EVALSHA a request with redis-py, of our own
script. `postgres`: one transaction with a guarded UPDATE and a reservation row with a unique key.
Both answer what they did, and nothing more: no shortages, no repeats, no ledger.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, post
from litestar.response import Response
from msgspec import Struct
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from atp_service import api, app, log
from atp_service.config import Settings, read_settings
from atp_service.inventory.commands import Hold, HoldLine, encode_command, fingerprint
from atp_service.inventory.journal import FORMAT
from atp_service.store.keys import keys_of
from atp_service.store.script import production_script

SCHEMA = """
CREATE TABLE rival_stock (
    sku      text    NOT NULL,
    location text    NOT NULL,
    on_hand  bigint  NOT NULL,
    reserved bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (sku, location)
) WITH (fillfactor = 50);

CREATE TABLE rival_reservations (
    reservation_id text        PRIMARY KEY,
    sku            text        NOT NULL,
    location       text        NOT NULL,
    quantity       bigint      NOT NULL,
    expires_at     timestamptz NOT NULL
);
"""
_TTL_MS = 900_000
_WINDOW_MS = 86_400_000
_CONNECTIONS = 16


class LineWanted(Struct):
    """Units asked for."""

    sku: str
    location: str
    quantity: int


class HoldWanted(Struct):
    """A hold, as our own API takes it."""

    reservation_id: str
    lines: list[LineWanted]


def evalsha(settings: Settings) -> Callable[..., Litestar]:
    redis = Redis.from_url(settings.redis_url or "", protocol=2)
    keys, script = keys_of(0), production_script()

    @post("/v1/reservations")
    async def hold(data: HoldWanted) -> Response[dict[str, Any]]:
        lines = [
            HoldLine(line_id=str(n), sku=x.sku, location=x.location, quantity=x.quantity)
            for n, x in enumerate(data.lines, 1)
        ]
        command = Hold(
            reservation_id=data.reservation_id,
            lines=lines,
            fingerprint=fingerprint(lines),
            ttl_ms=_TTL_MS,
        )
        ((outcome, *_),) = await redis.evalsha(
            script.sha.decode(), len(keys), *keys, 1, FORMAT, 0, _WINDOW_MS, encode_command(command)
        )
        held = outcome == b"held"
        return Response({"status": outcome.decode()}, status_code=201 if held else 409)

    async def load() -> None:
        await redis.script_load(script.source)

    return lambda **_: Litestar([hold], on_startup=[load], on_shutdown=[redis.aclose])


def postgres(settings: Settings) -> Callable[..., Litestar]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        settings.database_url or "", min_size=_CONNECTIONS, max_size=_CONNECTIONS, open=False
    )

    @post("/v1/reservations")
    async def hold(data: HoldWanted) -> Response[dict[str, Any]]:
        (line,) = data.lines
        expires_at = time.time() + _TTL_MS / 1000
        async with pool.connection() as connection, connection.transaction():
            taken = await connection.execute(
                """
                UPDATE rival_stock
                SET reserved = reserved + %(quantity)s
                WHERE sku = %(sku)s
                  AND location = %(location)s
                  AND on_hand - reserved >= %(quantity)s
                """,
                {"sku": line.sku, "location": line.location, "quantity": line.quantity},
            )
            if taken.rowcount == 0:
                return Response({"status": "short"}, status_code=409)
            await connection.execute(
                """
                INSERT INTO rival_reservations
                VALUES (%(id)s, %(sku)s, %(location)s, %(quantity)s, to_timestamp(%(expires_at)s))
                """,
                {
                    "id": data.reservation_id,
                    "sku": line.sku,
                    "location": line.location,
                    "quantity": line.quantity,
                    "expires_at": expires_at,
                },
            )
        return Response({"status": "held"}, status_code=201)

    @asynccontextmanager
    async def opened(_: Litestar) -> AsyncIterator[None]:
        async with pool:
            yield

    return lambda **_: Litestar([hold], lifespan=[opened])


if __name__ == "__main__":
    settings = read_settings(os.environ)
    log.configure(settings.log_level, "rival")
    api.create = {"evalsha": evalsha, "postgres": postgres}[sys.argv[1]](settings)  # type: ignore[assignment]  # answers as ASGI, like the other
    api.LaneProtocol = "httptools"  # type: ignore[assignment,misc]  # uvicorn's name of its own
    sys.exit(app.serve(settings))
