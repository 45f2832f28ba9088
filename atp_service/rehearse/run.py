"""A rehearsal from its first arrival to its verdict."""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from subprocess import PIPE, Popen

import httpx2
import msgspec
from msgspec import Struct

from atp_service.progress import View
from atp_service.rehearse import CannotRehearse
from atp_service.rehearse.audit import Audit, audit, differing
from atp_service.rehearse.faults import Fault, FaultWindow, Injection
from atp_service.rehearse.generator import Plan, Progress
from atp_service.rehearse.history import History
from atp_service.rehearse.ledger_fold import Figures, Finding, LedgerFold, LevelKey
from atp_service.rehearse.ledger_reader import LedgerReader
from atp_service.rehearse.measures import Measures, measure
from atp_service.rehearse.run_names import RunNames, names_of, run_name
from atp_service.rehearse.scenario import Scenario
from atp_service.rehearse.seeding import mark, request, seed
from atp_service.rehearse.target import Target
from atp_service.rehearse.verdict import Verdict, judge

_RECORDED_SECONDS = 120.0
_TAKEN_IN_SECONDS = 60.0  # NATS delivers the events of a killed worker to another after a while
_AGREED_SECONDS = 20.0
_SKUS_AT_ONCE = 50
_LOOK_EVERY_SECONDS = 0.1


class Rehearsal(Struct, frozen=True, kw_only=True):
    """A run and all figures about it."""

    scenario: Scenario
    scale: float
    fault: Fault | None
    window: FaultWindow | None
    url: str
    history: History
    ledger: LedgerFold
    audit: Audit
    measures: Measures
    verdict: Verdict


def rehearse(
    scenario: Scenario, target: Target, *, scale: float, fault: Fault | None, view: View
) -> Rehearsal:
    """Stock the shop, hold the sale, audit it. Raises CannotRehearse."""
    injection = None
    if fault is not None:
        injection = Injection(fault, target.supervisor, scenario, target.is_ready)
    reader = LedgerReader(target.database_url)
    before = reader.positions()
    names = names_of(scenario, run_name(time.time_ns() // 1_000_000))
    with httpx2.Client(base_url=target.url, timeout=30) as http:
        view.tell(f"stocking {len(names.skus)} SKUs at {target.url}")
        received = seed(http, scenario, names, datetime.now(UTC))
        plan = Plan(
            url=target.url,
            nats_url=target.nats_url,
            scenario=scenario,
            names=names,
            received=received,
        )
        history = _sell(plan, injection, view)
        view.tell("waiting until the ledger has every entry")
        marker = mark(http, names, datetime.now(UTC))
        history.calls.append(marker)
        _wait_until_recorded(reader, names.till, [marker.reference], _RECORDED_SECONDS)
        published = {call.reference for call in history.calls if call.outcome == "published"}
        with suppress(CannotRehearse):  # the audit reports what is lost
            _wait_until_recorded(reader, names.till, sorted(published), _TAKEN_IN_SECONDS)
        view.tell("auditing")
        ledger, projections = reader.run(names, before)
        redis = _redis_findings(http, reader, names)
    window, recovery = (injection.window, injection.recovery) if injection else (None, None)
    found = audit(history, ledger, projections, redis)
    measures = measure(scenario, history, window)
    return Rehearsal(
        scenario=scenario,
        scale=scale,
        fault=fault,
        window=window,
        url=target.url,
        history=history,
        ledger=ledger,
        audit=found,
        measures=measures,
        verdict=judge(scenario, found, measures, recovery),
    )


def _sell(plan: Plan, injection: Injection | None, view: View) -> History:
    """The record of the sale, which a process of its own holds."""
    command = [sys.executable, "-m", "atp_service.rehearse.generator"]
    with (
        tempfile.TemporaryFile("w+") as errors,
        Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors) as process,
    ):
        assert process.stdin is not None  # noqa: S101 – both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with process.stdin as stdin:
                stdin.write(msgspec.msgpack.encode(plan))
            for line in process.stdout:
                progress = msgspec.json.decode(line, type=Progress)
                _show(progress, plan.scenario.seconds, view)
                if injection is not None:
                    injection.strike_if_due(progress)
                if progress.done:
                    break
            history = process.stdout.read()
            code = process.wait()
        finally:
            process.kill()
        if code != 0:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise CannotRehearse(f"the generator ended with {code}: {last}")
    if injection is not None:
        injection.finish()
    return msgspec.msgpack.decode(history, type=History)


def _show(progress: Progress, seconds: float, view: View) -> None:
    detail = (
        f"{progress.phase}, {progress.arrived:,} came, {progress.under_way:,} inside, "
        f"{progress.held:,} held, {progress.refused:,} refused, {progress.faults:,} retried"
    )
    view.show("sale", min(1.0, progress.at / seconds), detail)


def _wait_until_recorded(
    reader: LedgerReader, source: str, event_ids: Sequence[str], patience_seconds: float
) -> None:
    """Return once the ledger has the events; it has all commands before them too."""
    deadline = time.monotonic() + patience_seconds
    while reader.missing(source, event_ids):
        if time.monotonic() > deadline:
            raise CannotRehearse(
                f"events are missing in the ledger after {patience_seconds:.0f} s: is a worker"
                " recording?"
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _redis_findings(http: httpx2.Client, reader: LedgerReader, names: RunNames) -> list[Finding]:
    """Levels whose figures in Redis differ from the ledger's at the same version.

    Holds lapse meanwhile: an entry that is not recorded yet is waited for.
    """
    deadline = time.monotonic() + _AGREED_SECONDS
    while True:
        figures, versions = _served(http, names)
        recorded: dict[LevelKey, Figures] = {}
        while len(recorded) < len(versions) and time.monotonic() < deadline:
            recorded = reader.figures_at(versions)
            time.sleep(_LOOK_EVERY_SECONDS)
        findings = list(differing(figures, recorded))
        if not findings or time.monotonic() > deadline:
            return findings


def _served(
    http: httpx2.Client, names: RunNames
) -> tuple[dict[LevelKey, Figures], dict[LevelKey, int]]:
    """The figures of each level in Redis, and its version."""
    figures: dict[LevelKey, Figures] = {}
    versions: dict[LevelKey, int] = {}
    for first in range(0, len(names.skus), _SKUS_AT_ONCE):
        query = {
            "skus": names.skus[first : first + _SKUS_AT_ONCE],
            "locations": [names.shop, names.store],
            "channel": names.channel,
        }
        for item in request(http, "POST", "/v1/availability", query).json()["items"]:
            for level in item["locations"]:
                if level["version"]:
                    key = (item["sku"], level["location"])
                    figures[key] = (level["on_hand"], level["reserved"], level["allocated"])
                    versions[key] = level["version"]
    return figures, versions
