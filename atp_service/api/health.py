"""Is it alive, is it ready, and what it counts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from litestar import Router, get
from litestar.response import Response
from msgspec import Struct

from atp_service import metrics, postgres
from atp_service import store as stores
from atp_service.api.litestar_routes import problems, respond
from atp_service.api.problems import problem
from atp_service.api.responses import Answer
from atp_service.ledger import Ledger
from atp_service.store import Store

_PATIENCE_SECONDS = 4.0  # a Redis that is new has to be compared with the ledger meanwhile


class LiveDocument(Struct, frozen=True):
    """The process answers."""

    live: bool


class Dependency(Struct, frozen=True):
    """A server we lean on; `warnings` are what an operator should change."""

    state: Literal["up", "down", "unfit", "fenced"]
    warnings: list[str]


class ReadyDocument(Struct, frozen=True):
    """Ready to promise; degraded where something else than promising waits."""

    ready: bool
    degraded: bool
    dependencies: dict[str, Dependency]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Asks each dependency, all at once. Only Redis decides: selling needs nothing else."""

    store: Store
    ledger: Ledger
    nats_connected: Callable[[], bool] | None

    async def ready(self) -> Answer:
        redis, postgres = await asyncio.gather(self._redis(), self._postgres())
        dependencies = {"redis": redis, "postgres": postgres}
        if self.nats_connected is not None:
            up = self.nats_connected()
            dependencies["nats"] = Dependency("up" if up else "down", [])
        if redis.state != "up":
            why = "; ".join(redis.warnings) or redis.state
            return problem(
                "unavailable",
                f"Redis: {why}.",
                retry_after=5,
                ready=False,
                dependencies=dependencies,
            )
        degraded = any(d.state != "up" or d.warnings for d in dependencies.values())
        return Answer(200, ReadyDocument(True, degraded, dependencies))

    async def _redis(self) -> Dependency:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                reports = await self.store.server_reports()
        except stores.Fenced as fence:
            return Dependency("fenced", [fence.reason])
        except (stores.Unavailable, TimeoutError):
            return Dependency("down", [])
        policies = {report.maxmemory_policy for report in reports} - {"noeviction"}
        if policies:
            warnings = [f"maxmemory-policy is {one}: stock may be evicted" for one in policies]
            return Dependency("unfit", warnings)
        unsafe = {report.appendfsync for report in reports} - {"always"}
        return Dependency(
            "up", [f"appendfsync is {one}: what was acknowledged may be lost" for one in unsafe]
        )

    async def _postgres(self) -> Dependency:
        try:
            await self.ledger.ping()
        except postgres.Unavailable:
            return Dependency("down", [])
        return Dependency("up", [])


def routes(health: Health) -> Router:
    @get("/health/live", summary="Is the process alive?")
    async def live() -> LiveDocument:
        return LiveDocument(live=True)

    @get("/health/ready", summary="Can it promise?", responses=problems())
    async def ready() -> Response[ReadyDocument]:
        return respond(await health.ready())

    @get("/metrics", summary="OpenMetrics", media_type=metrics.CONTENT_TYPE)
    async def counted() -> bytes:
        return metrics.exposition()

    return Router("/", route_handlers=[live, ready, counted], tags=["Operations"])
