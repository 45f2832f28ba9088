"""The flash sale in Locust: the same buyers as `atp rehearse`, to be watched and steered.

    locust -f loadtests/flash_sale.py                     # its web page
    locust -f loadtests/flash_sale.py --headless
    locust -f loadtests/flash_sale.py --master, and several with --worker

`--scenario` (or SCENARIO) names the scenario file, `--scale` (or SCALE) shrinks it, `--host` the
service. Users wait for their answers before they go on, so a slow service is asked less often:
`atp rehearse` is for the verdict, this is for looking on.
"""

import logging
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import gevent  # type: ignore[import-untyped]
import httpx2
from locust import FastHttpUser, LoadTestShape, constant_pacing, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from atp_service.rehearse import CannotRehearse
from atp_service.rehearse.calls import Request, click_request, fact_request
from atp_service.rehearse.journey import Ask, journey
from atp_service.rehearse.operations import Operations
from atp_service.rehearse.run_names import RunNames, names_of, run_name
from atp_service.rehearse.scenario import Scenario, ScenarioError, load_scenario
from atp_service.rehearse.seeding import seed

log = logging.getLogger("flash-sale")
logging.getLogger("httpx2").setLevel(logging.WARNING)  # each request a line

HOST = "http://127.0.0.1:8080"
_LATER = frozenset({0, 429, 500, 502, 503, 504})
_CLICKS = 3  # that a visit thinks before


class Sale:
    """What all users of this process share."""

    def __init__(self, scenario: Scenario, names: RunNames) -> None:
        self.scenario = scenario
        self.names = names
        self.operations = Operations(names, Random(), _process())
        self.began = time.monotonic()
        self._visits = count(1)

    def now(self) -> float:
        return time.monotonic() - self.began

    def next_visit(self) -> str:
        return f"{self.names.run}-{_process()}-{next(self._visits)}"


_sales: dict[str, Sale] = {}


def _sale(environment: Environment) -> Sale:
    """The sale of this run: its name comes from whoever seeded it."""
    options = _options(environment)
    run = options.sale_run
    if run not in _sales:
        _sales.clear()
        scenario = _scenario(options.scenario, options.scale)
        _sales[run] = Sale(scenario, names_of(scenario, run))
    return _sales[run]


@cache
def _scenario(path: str, scale: float) -> Scenario:
    return load_scenario(Path(path)).scaled(scale)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--scenario", env_var="SCENARIO", default="examples/flash-sale.toml", help="scenario file"
    )
    parser.add_argument(
        "--scale", env_var="SCALE", type=float, default=1.0, help="shrinks buyers, units and rates"
    )
    # Told by the master to its workers, so that all sell the same goods.
    parser.add_argument("--sale-run", default="", include_in_web_ui=False, help="made at the start")


@events.init.add_listener  # type: ignore[untyped-decorator]
def _check(environment: Environment, **_: Any) -> None:
    """A scenario with a mistake stops the start."""
    options = _options(environment)
    try:
        _scenario(options.scenario, options.scale)
    except ScenarioError as error:
        log.error("%s", error)
        sys.exit(2)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _seed(environment: Environment, **_: Any) -> None:
    """New goods for each test, put there once: by the master, or by the only process."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options = _options(environment)
    options.sale_run = run_name(time.time_ns() // 1_000_000)
    try:
        sale = _sale(environment)
        with httpx2.Client(base_url=environment.host or HOST, timeout=30) as http:
            seed(http, sale.scenario, sale.names, datetime.now(UTC))
        sale.began = time.monotonic()
    except CannotRehearse as error:
        log.error("%s", error)
        environment.process_exit_code = 2
        if environment.runner is not None:
            environment.runner.quit()


class SaleShape(LoadTestShape):
    """As many users as arrive in the time that one takes for a visit, phase by phase."""

    def tick(self) -> tuple[int, float] | None:
        if self.runner is None:
            return None
        try:
            sale = _sale(self.runner.environment)
        except ScenarioError as error:  # named in the web page, where it can be mended
            log.error("%s", error)
            return None
        multiple = sale.scenario.multiple_at(self.get_run_time())  # type: ignore[no-untyped-call]
        if multiple is None:
            return None
        arriving = sale.scenario.normal_rate * multiple
        users = 1 + math.ceil(arriving * _visit_seconds(sale.scenario))
        return users, max(1.0, float(users))


class Customer(FastHttpUser):
    """Asks until there is a definite answer: the same id makes that harmless."""

    abstract = True
    host = HOST

    def __init__(self, environment: Environment) -> None:
        self.sale = _sale(environment)
        buyer = self.sale.scenario.buyer
        self.network_timeout = self.connection_timeout = buyer.patience_seconds
        self.chance = Random()
        super().__init__(environment)

    def ask(self, request: Request) -> int:
        """The definite status; 0 if none came in time."""
        gives_up_at = time.monotonic() + self.sale.scenario.buyer.gives_up_seconds
        while True:
            status = self._ask_once(request)
            if status not in _LATER:
                return status
            if time.monotonic() > gives_up_at:
                return 0
            gevent.sleep(self.chance.uniform(0.1, 1.0))

    def _ask_once(self, request: Request) -> int:
        with self.client.request(
            request.method,
            request.path,
            data=request.body.decode(),
            headers={"content-type": "application/json"},
            # Never the path: it holds ids, and each would be a row of its own.
            name=request.route,
            catch_response=True,
        ) as response:
            status = int(response.status_code or 0)
            if status == 409:
                # A refusal is an answer, and told apart from a success.
                response.request_meta["name"] = f"{request.route}, refused"
                response.success()
            return status

    def ask_at_once(self, request: Request, copies: int) -> int:
        """The best of the copies' statuses."""
        asked = [gevent.spawn(self.ask, request) for _ in range(copies)]
        gevent.joinall(asked)
        return min((one.value for one in asked if one.value), default=0)


class Checkout(Customer):
    """A buyer: looks, holds, walks away or buys; some change the cart, some press twice."""

    def wait_time(self) -> float:
        return _paced(constant_pacing(_visit_seconds(self.sale.scenario)), self)

    @task
    def visit(self) -> None:
        sale = self.sale
        share = sale.scenario.phase_at(sale.now()).sale
        name = sale.next_visit()
        clicks = journey(sale.scenario, sale.names, name, share, self.chance)
        status = None
        while True:
            try:
                ask = next(clicks) if status is None else clicks.send(status)
            except StopIteration:
                return
            status = self._click(ask)
            if ask.click == "confirm" and status == 200:
                sale.operations.ship(name, ask.cart)

    def _click(self, ask: Ask) -> int:
        gevent.sleep(ask.think_seconds)
        hold_seconds = self.sale.scenario.buyer.hold_seconds
        request = click_request(ask, self.sale.names, hold_seconds)
        return self.ask_at_once(request, ask.copies) if ask.copies > 1 else self.ask(request)


class Feeds(Customer):
    """The operations' one user: tills, deliveries, and shipments of what its process has sold."""

    fixed_count = 1

    def wait_time(self) -> float:
        rate = self.sale.scenario.operations.facts_per_second
        return _paced(constant_throughput(rate), self) if rate else 60.0

    @task
    def report(self) -> None:
        fact = self.sale.operations.next()
        event = fact.event(datetime.now(UTC))
        self.ask_at_once(fact_request([event]), fact.copies)


def _visit_seconds(scenario: Scenario) -> float:
    """As long as the longest visit thinks."""
    return max(0.1, _CLICKS * scenario.buyer.think_seconds[1])


def _paced(pace: Callable[[Any], float], user: Customer) -> float:
    return float(pace(user))


def _process() -> str:
    return f"{os.uname().nodename[:12]}-{os.getpid()}"


def _options(environment: Environment) -> Any:
    assert environment.parsed_options is not None
    return environment.parsed_options
