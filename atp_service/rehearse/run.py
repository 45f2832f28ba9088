"""A rehearsal from its first arrival to its verdict."""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

import httpx2
import msgspec
from msgspec import Struct

from atp_service.progress import View
from atp_service.rehearse.audit import Audit, Finding, audit, differing
from atp_service.rehearse.errors import CannotRehearse
from atp_service.rehearse.faults import Fault, Victim
from atp_service.rehearse.generator import Plan, Told
from atp_service.rehearse.history import Call, History, read_history
from atp_service.rehearse.journey import Line
from atp_service.rehearse.ledger_fold import Books, Place
from atp_service.rehearse.ledger_reader import LedgerReader, Numbers
from atp_service.rehearse.measures import Measures, Window, measure
from atp_service.rehearse.run_names import Goods, goods, run_name
from atp_service.rehearse.scenario import Scenario
from atp_service.rehearse.seeding import called, mark, seed
from atp_service.rehearse.target import Target
from atp_service.rehearse.verdict import Recovery, Verdict, judge

# Early in the plateau, while there is still something to sell.
_STRIKES_AT = 0.03
_PAUSE_SHARE = 0.1
_SETTLING_SECONDS = 1.0  # what had piled up in a fault, once the service is ready again
_RECORDED_SECONDS = 120.0
_TAKEN_IN_SECONDS = 60.0  # what a killed worker had taken comes again after a while
_AGREED_SECONDS = 20.0
_SKUS_AT_ONCE = 50
_LOOK_EVERY_SECONDS = 0.1


class Rehearsal(Struct, frozen=True, kw_only=True):
    """All that came of it."""

    scenario: Scenario
    scale: float
    fault: Fault | None
    window: Window | None
    url: str
    history: History
    books: Books
    audit: Audit
    measures: Measures
    verdict: Verdict


def rehearse(
    scenario: Scenario, target: Target, *, scale: float, fault: Fault | None, view: View
) -> Rehearsal:
    """Seed, sell, audit. Raises CannotRehearse."""
    victim = Victim(fault, target.supervisor) if fault else None
    reader = LedgerReader(target.database_url)
    after_seq = reader.last_seq()
    ours = goods(scenario, run_name(time.time_ns() // 1_000_000))
    with httpx2.Client(base_url=target.url, timeout=30) as http:
        view.tell(f"stocking {len(ours.skus)} SKUs at {target.url}")
        received = seed(http, scenario, ours, datetime.now(UTC))
        plan = Plan(
            url=target.url,
            nats_url=target.nats_url,
            scenario=scenario,
            goods=ours,
            received=received,
            seed=1,
        )
        strike = _Strike(victim, scenario, target) if victim else None
        history = _sell(plan, strike, view)
        view.tell("waiting for the ledger to have it all")
        source, marked = mark(http, ours, 1, datetime.now(UTC))
        history.calls.append(_told(marked, ours))
        _wait_until_recorded(reader, source, [marked], _RECORDED_SECONDS)
        published = {call.reference for call in history.calls if call.told == "published"}
        with suppress(CannotRehearse):  # what is missing for good is for the audit to say
            _wait_until_recorded(reader, ours.till, sorted(published), _TAKEN_IN_SECONDS)
        view.tell("auditing")
        books, projections = reader.run(ours, after_seq)
        redis = list(_redis_findings(http, reader, ours))
    window, recovery = (strike.window, strike.recovery) if strike else (None, None)
    found = audit(history, books, projections, redis)
    measures = measure(scenario, history, window)
    return Rehearsal(
        scenario=scenario,
        scale=scale,
        fault=fault,
        window=window,
        url=target.url,
        history=history,
        books=books,
        audit=found,
        measures=measures,
        verdict=judge(scenario, found, measures, recovery),
    )


class _Strike:
    """A fault, once its time has come, on a thread of its own."""

    def __init__(self, victim: Victim, scenario: Scenario, target: Target) -> None:
        plateau = scenario.plateau
        self._victim = victim
        self._target = target
        self._due = scenario.begin_of(plateau) + _STRIKES_AT * plateau.seconds
        self._pause_seconds = max(1.0, _PAUSE_SHARE * plateau.seconds)
        self._thread: threading.Thread | None = None
        self.window: Window | None = None
        self.recovery: Recovery | None = None

    def look(self, told: Told) -> None:
        if self._thread is None and told.at >= self._due:
            self._thread = threading.Thread(target=self._strike, args=(told.clock_at,))
            self._thread.start()

    def finish(self) -> None:
        if self._thread is None:
            raise CannotRehearse("the plateau was over before the fault could strike")
        self._thread.join()

    def _strike(self, clock_at: float) -> None:
        began = time.monotonic() - clock_at
        seconds = self._victim.strike(self._pause_seconds, self._target.is_ready)
        ended = time.monotonic() - clock_at + _SETTLING_SECONDS
        self.window = Window(self._victim.fault, began, ended)
        self.recovery = Recovery(self._victim.fault, seconds)


def _sell(plan: Plan, strike: _Strike | None, view: View) -> History:
    """Run the generator, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="atp-rehearse-") as folder:
        plan_path, history_path = Path(folder) / "plan", Path(folder) / "history"
        plan_path.write_bytes(msgspec.msgpack.encode(plan))
        with (Path(folder) / "errors").open("w+") as errors:
            with _generator(plan_path, history_path, errors) as process:
                assert process.stdout is not None  # noqa: S101 – it was asked for
                for line in process.stdout:
                    told = msgspec.json.decode(line, type=Told)
                    _show(told, plan.scenario.seconds, view)
                    if strike is not None:
                        strike.look(told)
                code = process.wait()
            if code != 0:
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
                raise CannotRehearse(f"the generator ended with {code}: {last}")
        if strike is not None:
            strike.finish()
        return read_history(history_path)


def _show(told: Told, seconds: float, view: View) -> None:
    detail = (
        f"{told.phase}, {told.arrived:,} came, {told.under_way:,} inside, {told.held:,} held, "
        f"{told.refused:,} refused, {told.faults:,} retried"
    )
    view.show("sale", min(1.0, told.at / seconds), detail)


@contextmanager
def _generator(plan: Path, history: Path, errors: IO[str]) -> Iterator[Popen[bytes]]:
    command = [sys.executable, "-m", "atp_service.rehearse.generator", str(plan), str(history)]
    with Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=errors) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_until_recorded(
    reader: LedgerReader, source: str, event_ids: Sequence[str], patience_seconds: float
) -> None:
    """Return once the events are in the ledger; what came before them over the same door is too."""
    deadline = time.monotonic() + patience_seconds
    while reader.missing(source, event_ids):
        if time.monotonic() > deadline:
            raise CannotRehearse(
                f"the ledger did not get there within {patience_seconds:.0f} s: is a worker"
                " recording?"
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _told(event_id: str, ours: Goods) -> Call:
    """The closing mark, as one more fact that was told."""
    return Call(
        kind="receipt",
        reference=event_id,
        cart=(Line(ours.everyday[0], 1),),
        phase="",
        due=0.0,
        woken=0.0,
        sent=0.0,
        answered=0.0,
        status=200,
        told="applied",
    )


def _redis_findings(http: httpx2.Client, reader: LedgerReader, ours: Goods) -> list[Finding]:
    """Levels where what the service has in Redis isn't what the ledger had at that version.

    Holds lapse meanwhile: an entry that isn't recorded yet is waited for.
    """
    deadline = time.monotonic() + _AGREED_SECONDS
    while True:
        numbers, versions = _served(http, ours)
        recorded: dict[Place, Numbers] = {}
        while len(recorded) < len(versions) and time.monotonic() < deadline:
            recorded = reader.numbers_at(versions)
            time.sleep(_LOOK_EVERY_SECONDS)
        findings = list(differing(numbers, recorded))
        if not findings or time.monotonic() > deadline:
            return findings


def _served(http: httpx2.Client, ours: Goods) -> tuple[dict[Place, Numbers], dict[Place, int]]:
    """Each level as it is in Redis, and its version."""
    numbers: dict[Place, Numbers] = {}
    versions: dict[Place, int] = {}
    for first in range(0, len(ours.skus), _SKUS_AT_ONCE):
        asked = {
            "skus": ours.skus[first : first + _SKUS_AT_ONCE],
            "locations": [ours.shop, ours.store],
            "channel": ours.channel,
        }
        answer = called(http, "POST", "/v1/availability", asked)
        for item in answer.json()["items"]:
            for level in item["locations"]:
                if level["version"]:
                    place = (item["sku"], level["location"])
                    numbers[place] = (level["on_hand"], level["reserved"], level["allocated"])
                    versions[place] = level["version"]
    return numbers, versions
