"""The display of `atp up`: the addresses, then live counters: a panel on a terminal, else lines."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import msgspec
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from atp_service.embedded.counters import Counters, read_counters
from atp_service.embedded.fetch import fetch
from atp_service.embedded.readiness import State, read_state
from atp_service.processes.instance import Instance
from atp_service.processes.restarting_child import RestartingChild
from atp_service.workers import ROLES

_ON_TERMINAL_SECONDS = 1.0
_IN_LINES_SECONDS = 10.0
_STEPS = {
    "servers": "starting the servers",
    "migrations": "bringing the database up to date",
    "worker": f"starting the worker: {', '.join(ROLES)}",
    "serve": "starting the API",
    "demo": "opening the demo retailer",
}
_BORDERS = {"ready": "green", "degraded": "yellow", "away": "red"}


class InstancePanel:
    """Shows the steps of a start, the addresses, and the numbers that it reads from the processes.

    Addresses are plain lines, which a narrow terminal wraps and a user can copy.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._every = _ON_TERMINAL_SECONDS if console.is_terminal else _IN_LINES_SECONDS
        self._due = 0.0
        self._last: tuple[float, Counters] | None = None
        self._sku_known = False
        self._metrics: tuple[str, ...] = ()
        self._since = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def step(self, name: str) -> None:
        """Show that the next part of the start begins: a key of `_STEPS`."""
        self._console.print(Text(f"· {_STEPS[name]}", style="dim"))

    def running(self, instance: Instance, data: Path) -> None:
        """Show that all parts run, and their addresses."""
        self._metrics = (instance.url, instance.worker_metrics_url)
        self._since = f"since {datetime.now(UTC):%H:%M:%S} UTC"
        for name, value in (
            ("API", instance.url),
            ("its page", f"{instance.url}/schema"),
            ("metrics", " and ".join(f"{url}/metrics" for url in self._metrics)),
            ("Redis", instance.redis_url),
            ("NATS", instance.nats_url),
            ("Postgres", instance.database_url),
            ("data, logs", str(data)),
            ("try", f"curl -s {instance.url}/health/ready"),
        ):
            self._print(f"{name}: {value}")
        if self._console.is_terminal:
            self._live.start()

    def look(self, children: Sequence[RestartingChild]) -> None:
        """Show the numbers, if it is time to. Called every so often."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._every
        if not self._sku_known:
            self._name_a_sku()
        state = read_state(self._metrics[0])
        counters = read_counters(self._metrics)
        rate = 0.0
        if counters and self._last:
            then, before = self._last
            rate = max(0.0, (counters.requests - before.requests) / (now - then))
        if counters:
            self._last = (now, counters)
        rows = [("state", state.words), *_rows(counters, rate, children)]
        if self._console.is_terminal:
            self._live.update(self._panel(state, rows), refresh=True)
        else:
            shown = " · ".join(f"{name}: {value}" for name, value in rows)
            self._print(f"{shown} · {self._since}")

    def _name_a_sku(self) -> None:
        """Show a line to try, about a SKU; until there is one may take a moment."""
        body = fetch(f"{self._metrics[0]}/v1/skus?limit=1")
        with suppress(msgspec.DecodeError, LookupError, TypeError):
            query = urlencode({"sku": msgspec.json.decode(body or b"")["items"][0]["sku"]})
            self._sku_known = True
            self._print(f"try: curl -s '{self._metrics[0]}/v1/availability?{query}'")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _panel(self, state: State, rows: Sequence[tuple[str, str]]) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, Text(value))
        return Panel(
            table,
            title=f"ATP Service, {self._since}",
            subtitle="Ctrl-C stops all of it",
            border_style=_BORDERS[state.kind],
            expand=False,
        )


def _rows(
    counters: Counters | None, requests_per_second: float, children: Sequence[RestartingChild]
) -> list[tuple[str, str]]:
    restarted = [f"{one.child.name} ({one.restarts}×)" for one in children if one.restarts]
    restarts = [("restarted", ", ".join(restarted))] if restarted else []
    if counters is None:
        return [("counters", "unavailable at the moment"), *restarts]
    ended = (
        f"{counters.confirmed:,} confirmed, {counters.released:,} released, "
        f"{counters.expired:,} expired"
    )
    events = (
        f"{counters.events:,}, of them {counters.duplicates:,} duplicates "
        f"and {counters.parked:,} parked; {counters.pending:,} waiting"
    )
    return [
        ("requests", f"{counters.requests:,} ({requests_per_second:.0f}/s)"),
        ("holds", f"{counters.held:,} held, {counters.refused:,} refused for lack of stock"),
        ("of them", ended),
        ("stock events", events),
        ("ledger", f"{counters.recorded:,} entries recorded"),
        *restarts,
    ]
