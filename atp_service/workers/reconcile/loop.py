"""Runs of reconciling: one at a time, every so often and when one is asked for."""

import asyncio
import time

import structlog
from prometheus_client import Counter, Gauge

from atp_service import postgres
from atp_service import store as stores
from atp_service.ledger import Ledger, NotRecorded, reconciliations
from atp_service.ledger.reconciliations import Lease, Reconciliation, Report, Scope
from atp_service.metrics import REGISTRY
from atp_service.pause import pause
from atp_service.store import Store
from atp_service.workers.reconcile import documents, levels
from atp_service.workers.reconcile.run import Comparison

log = structlog.get_logger()

LOOK_SECONDS = 1.0
REPORT_SECONDS = 1.0  # between reports of progress; well within the lease's silence

_runs = Counter("atp_reconcile_runs", "Reconciliations", ["status"], registry=REGISTRY)
_drift = Counter("atp_reconcile_drift", "Differences found", registry=REGISTRY)
_repaired = Counter("atp_reconcile_repaired", "Differences set right", registry=REGISTRY)
_seconds = Gauge(
    "atp_reconcile_seconds",
    "How long the last reconciliation took",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)


async def run(
    store: Store, ledger: Ledger, database_url: str, *, stop: asyncio.Event, every_seconds: float
) -> None:
    """Reconcile until stopped; with `every_seconds` 0 only when a run is asked for."""
    log.info("reconcile_started", every_seconds=every_seconds)
    since, was_away = time.monotonic(), False
    while not stop.is_set():
        try:
            idle_seconds = time.monotonic() - since
            due = 0 < every_seconds <= idle_seconds and await _is_due(ledger, every_seconds)
            if due or await reconciliations.any_to_do(ledger):
                async with reconciliations.lease(database_url) as lease:
                    if lease is not None:
                        if due and await _is_due(ledger, every_seconds):
                            await reconciliations.request(
                                ledger, Scope(), repair=True, asked_by="schedule"
                            )
                        await work_off(store, ledger, lease, stop)
                        since = time.monotonic()
            was_away = False
        except postgres.Unavailable as away:
            if not was_away:
                log.warning("reconcile_interrupted", reason=str(away))
            was_away = True
        await pause(stop, LOOK_SECONDS)
    log.info("reconcile_stopped")


async def work_off(store: Store, ledger: Ledger, lease: Lease, stop: asyncio.Event) -> None:
    """Do all runs that were asked for. Raises `Unavailable` when Postgres goes away meanwhile."""
    while not stop.is_set():
        asked = await lease.take()
        if asked is None:
            return
        report = await _reconcile(store, ledger, lease, asked, stop)
        _seconds.set(report.seconds)
        _drift.inc(report.drift_total)
        _repaired.inc(report.repaired)
        _runs.labels("done" if report.reason is None else "failed").inc()
        log.info(
            "reconciled",
            id=asked.id,
            seconds=report.seconds,
            levels=report.compared.levels,
            drift=report.drift_total,
            repaired=report.repaired,
            failed=report.reason,
        )
        await lease.finish(asked.id, report)


async def _is_due(ledger: Ledger, every_seconds: float) -> bool:
    """Whether no worker has made a whole run for so long."""
    ago = await reconciliations.seconds_since_whole(ledger)
    return ago is None or ago >= every_seconds


async def _reconcile(
    store: Store, ledger: Ledger, lease: Lease, asked: Reconciliation, stop: asyncio.Event
) -> Report:
    """The run's report; with a reason if it could not be done."""
    report, began = Report(), time.monotonic()
    reporting = asyncio.create_task(_keep_reporting(lease, asked, report, began))
    stopped = asyncio.create_task(stop.wait())
    comparing = asyncio.create_task(_compare_all(store, ledger, lease, asked, report))
    try:
        await asyncio.wait({reporting, stopped, comparing}, return_when=asyncio.FIRST_COMPLETED)
        if comparing.done():
            comparing.result()
        elif reporting.done():
            reporting.result()
        else:
            report.reason = "the worker was stopped meanwhile"
    except stores.Fenced as fence:
        report.reason = f"Redis is fenced: {fence.reason}"
    except stores.Unavailable as away:
        report.reason = f"Redis is away: {away}"
    except NotRecorded as behind:
        report.reason = f"the ledger is behind: {behind}"
    except postgres.Unavailable as away:
        report.reason = f"Postgres is away: {away}"
    except Exception as fault:  # a run that fails must not end its worker's other roles
        log.exception("reconcile_failed", id=asked.id)
        report.reason = f"a fault of ours: {fault!r}"
    finally:
        for task in (reporting, stopped, comparing):
            task.cancel()
        await asyncio.gather(reporting, stopped, comparing, return_exceptions=True)
    report.seconds = round(time.monotonic() - began, 3)
    return report


async def _keep_reporting(
    lease: Lease, asked: Reconciliation, report: Report, began: float
) -> None:
    """Report progress, and so keep the lease; raises `Unavailable` once it is lost."""
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        report.seconds = round(time.monotonic() - began, 3)
        await lease.report(asked.id, report)


async def _compare_all(
    store: Store, ledger: Ledger, lease: Lease, asked: Reconciliation, report: Report
) -> None:
    """One partition after the other."""
    for partition in store.partitions:
        run = Comparison(partition, ledger, lease, asked, report)
        try:
            # Redis first: then only levels that commands have come over are left to explain.
            await levels.compare_recorded(run)
            await levels.compare_kept(run)
            if run.scope.whole:
                for of in (documents.RESERVATIONS, documents.ORDERS):
                    await documents.compare_recorded(run, of)
                    await documents.compare_kept(run, of)
                await documents.compare_kept_deadlines(run)
            await levels.compare_explained(run)
        finally:
            await run.walk.close()
