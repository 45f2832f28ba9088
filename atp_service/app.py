"""Wires the parts together: the only place that opens connections.

Every process starts even if a server is away, and takes up its work when the server is back.
"""

import asyncio
import gc
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
import uvloop
from nats.aio.client import Client as NatsClient
from prometheus_client import Gauge, start_http_server
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from atp_service import api, metrics, postgres, store
from atp_service.catalog import Catalog
from atp_service.config import Settings, SettingsError, missing, unusable, variable
from atp_service.facts import Facts
from atp_service.jetstream.stream import CONSUMER, STREAM
from atp_service.ledger import Ledger, check_ledger
from atp_service.pause import pause
from atp_service.store import Store
from atp_service.workers import Role, expire, ingest, rebuild, reconcile, record

log = structlog.get_logger()

_CONNECTIONS = 8
_PATIENCE_SECONDS = 2.0
_GRACE_SECONDS = 10
_LOOK_SECONDS = 0.2
_BACKLOG = 2048

_serving = Gauge(
    "atp_serving",
    "API processes that answer",
    registry=metrics.REGISTRY,
    multiprocess_mode="livesum",
)


@dataclass(frozen=True)
class Connections:
    """The open connections, and the parts that work on them."""

    pool: AsyncConnectionPool[AsyncConnection[Any]]
    ledger: Ledger
    catalog: Catalog
    store: Store
    facts: Facts
    nats: NatsClient


@asynccontextmanager
async def connections(settings: Settings, name: str = "atp") -> AsyncIterator[Connections]:
    """All connections, opened in order and closed in reverse.

    A server that is away is connected to when it is back. Raises SettingsError for a missing
    address, a database without tables and a PostgreSQL that is too old.
    """
    for setting in ("redis_url", "database_url"):
        if getattr(settings, setting) is None:
            raise missing(setting)
    async with AsyncExitStack() as stack:
        pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            settings.database_url or "",
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_PATIENCE_SECONDS,
            kwargs={"application_name": f"atp {name}", "connect_timeout": 3},
            open=False,
        )
        await pool.open()
        stack.push_async_callback(pool.close)
        ledger = Ledger(pool)
        stack.push_async_callback(ledger.close)
        master_data = Catalog(pool)
        window_ms = settings.dedupe_hours * 3_600_000
        stock = Store(settings.redis_url or "", name=name, window_ms=window_ms)
        stack.push_async_callback(stock.close)
        await _begin(stock, ledger, master_data)
        following = _watched("follow_catalog", master_data.follow())
        stack.push_async_callback(_cancelled, following)
        bus = NatsClient()
        if settings.nats_url is not None:
            connecting = asyncio.create_task(_connect(bus, settings.nats_url, name))
            stack.push_async_callback(_disconnect, bus, connecting)
            await asyncio.wait({connecting}, timeout=_PATIENCE_SECONDS)
        facts = _facts(settings, stock, ledger, master_data)
        yield Connections(pool, ledger, master_data, stock, facts, bus)


def rebuild_tools(settings: Settings, parts: Connections, partition: int) -> rebuild.Tools:
    """The parts that a rebuild of the partition works with, beside a store of its own."""
    return rebuild.Tools(
        redis_url=settings.redis_url or "",
        database_url=settings.database_url or "",
        ledger=parts.ledger,
        facts_on=lambda stock: _facts(settings, stock, parts.ledger, parts.catalog),
        nats=parts.nats if settings.nats_url is not None else None,
        stream=STREAM,
        consumer=CONSUMER,
        window_ms=settings.dedupe_hours * 3_600_000,
        partition=partition,
        partitions=len(parts.store.partitions),
    )


def serve(settings: Settings, *, share_port: bool = False) -> int:
    """Serve the API until SIGTERM or SIGINT; the exit code. Several processes may share a port."""
    return uvloop.run(_serve(settings, share_port))


def work(settings: Settings, roles: Sequence[Role]) -> int:
    """Do the work of `roles` until SIGTERM or SIGINT; the exit code."""
    return uvloop.run(_work(settings, roles))


async def _serve(settings: Settings, share_port: bool) -> int:
    async with _listener(settings, share_port) as listener, connections(settings, "serve") as parts:
        application = api.create(
            store=parts.store,
            ledger=parts.ledger,
            catalog=parts.catalog,
            facts=parts.facts,
            auto_create=bool(settings.auto_create),
            now_ms=_now_ms,
            durability=settings.durability,
            dedupe_hours=settings.dedupe_hours,
            nats_connected=(lambda: parts.nats.is_connected) if settings.nats_url else None,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                loop="none",
                http=api.LaneProtocol,
                ws="none",
                proxy_headers=False,
                lifespan="auto",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        # uvicorn stops at a signal and then raises it anew. That would end the process before its
        # connections are closed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        # All objects so far stay for good: the collector need not look at them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)
        log.info("serving", host=settings.host, port=listener.getsockname()[1])
        _serving.set(1)
        cutting_off = _watched(
            "cut_off_slow_callers", api.cut_off_slow_callers(server, settings.request_seconds)
        )
        try:
            await server.serve([listener])
        finally:
            await _cancelled(cutting_off)
    log.info("served")
    return 0


async def _work(settings: Settings, roles: Sequence[Role]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = settings.worker_metrics_port
    if port is not None:
        try:
            start_http_server(port, addr=settings.host, registry=metrics.REGISTRY)
        except OSError as fault:
            raise unusable("worker_metrics_port", port, str(fault.strerror)) from None
    async with connections(settings, "worker") as parts:
        log.info("working", roles=list(roles))
        tasks = [
            asyncio.create_task(_until_stopped(run, stop), name=role)
            for role in roles
            for run in _runs(role, settings, parts, stop)
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [task for task in tasks if task.done() and task.exception() is not None]
        if failed:
            log.error("worker_failed", role=failed[0].get_name(), exc_info=failed[0].exception())
            # The supervisor starts the worker anew. The other roles may finish their work.
            _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return 1
    log.info("worked")
    return 0


def _runs(
    role: Role, settings: Settings, parts: Connections, stop: asyncio.Event
) -> list[Coroutine[Any, Any, None]]:
    """The role's work: of all partitions together, or of each by itself."""
    database_url, partitions = settings.database_url or "", parts.store.partitions
    match role:
        case "ingest":
            return [_ingest(parts, stop)]
        case "record":
            return [record.run(one, database_url, stop=stop) for one in partitions]
        case "expire":
            return [expire.run(one, stop=stop) for one in partitions]
        case "reconcile":
            store_and_ledger = (parts.store, parts.ledger)
            every = settings.reconcile_seconds
            return [reconcile.run(*store_and_ledger, database_url, stop=stop, every_seconds=every)]
        case "rebuild":
            tools = [rebuild_tools(settings, parts, one.number) for one in partitions]
            return [rebuild.run(one, parts.facts, stop=stop) for one in tools]


async def _until_stopped(run: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    try:
        await run
    finally:
        # Also when it fails: half a worker is worse than none, since it would go unseen.
        stop.set()


@asynccontextmanager
async def _listener(settings: Settings, share_port: bool) -> AsyncIterator[socket.socket]:
    """The port, taken before anything else is opened."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    where = (settings.host, settings.port)
    try:
        listener = socket.create_server(
            where, family=family, backlog=_BACKLOG, reuse_port=share_port
        )
    except OSError as fault:
        raise unusable("port", settings.port, str(fault.strerror)) from None
    with listener:
        yield listener


def _facts(settings: Settings, stock: Store, ledger: Ledger, master_data: Catalog) -> Facts:
    return Facts(
        stock,
        ledger,
        master_data,
        auto_create=bool(settings.auto_create),
        dedupe_hours=settings.dedupe_hours,
        clock=_now_ms,
    )


async def _begin(stock: Store, ledger: Ledger, master_data: Catalog) -> None:
    """Read master data and open the partition now. Both retry by themselves later."""
    database = variable("database_url")
    try:
        async with ledger.connection() as connection:
            postgres.check_version(connection.info.server_version)
            await check_ledger(connection)
        await master_data.load()
    except postgres.TooOld as fault:
        raise SettingsError(f"{database}: {fault}") from None
    except postgres.SchemaMissing:
        raise SettingsError(f"{database} has no tables of ours\nRun `atp migrate` first.") from None
    except postgres.Unavailable as fault:
        log.warning("catalog_unavailable", reason=str(fault))
    try:
        await stock.open(ledger)
    except (store.Fenced, store.Unavailable) as fault:
        if isinstance(fault, store.Fenced) and fault.cause == "format":
            raise SettingsError(f"{variable('redis_url')}: {fault}") from None
        log.warning("store_unavailable", reason=str(fault))


async def _ingest(parts: Connections, stop: asyncio.Event) -> None:
    while not parts.nats.is_connected and not stop.is_set():
        await pause(stop, _LOOK_SECONDS)
    await ingest.run(parts.nats, parts.facts, parts.ledger, stop=stop)


async def _connect(bus: NatsClient, url: str, name: str) -> None:
    """Connect, however long it takes; afterwards the client reconnects by itself."""
    await bus.connect(url, name=f"atp {name}", max_reconnect_attempts=-1, error_cb=_log_fault)


async def _log_fault(fault: Exception) -> None:
    log.warning("nats_fault", reason=str(fault) or type(fault).__name__)


async def _disconnect(bus: NatsClient, connecting: "asyncio.Task[None]") -> None:
    await _cancelled(connecting)
    if bus.is_connected:
        await bus.close()


def _watched(name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """A task for work beside everything else, until it is cancelled.

    If the work ends by a fault of ours, the log has it, and selling goes on.
    """

    def log_fault(task: "asyncio.Task[None]") -> None:
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("background_work_ended", work=name, exc_info=fault)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(log_fault)
    return task


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
