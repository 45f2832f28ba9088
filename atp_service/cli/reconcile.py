"""`atp reconcile`: Redis compared with the ledger, now."""

import os
import sys
from typing import TYPE_CHECKING

import rich_click as click

from atp_service.cli.output import STOPPED, fail, json_option, print_json
from atp_service.cli.settings import settings_here

if TYPE_CHECKING:
    from rich.table import Table

    from atp_service.ledger.reconciliations import Drift, Reconciliation, Scope

_SHOWN = 30  # differences in the table; all of the report with --json


@click.command("reconcile")
@click.option("--sku", "skus", multiple=True, metavar="SKU", help="Only levels of it; repeatable.")
@click.option(
    "--location", "locations", multiple=True, metavar="ID", help="Only levels there; repeatable."
)
@click.option("--no-repair", is_flag=True, help="Report differences and repair none.")
@json_option("run")
def command(
    skus: tuple[str, ...], locations: tuple[str, ...], no_repair: bool, as_json: bool
) -> None:
    """Compare Redis with the ledger while selling goes on, and repair what was changed by hand.

    Without --sku and --location everything is compared: levels, reservations, orders, deadlines.
    A worker does it, if one runs; else this command. Exits with 1 if there was a difference,
    repaired or not, with 2 if it could not be done.
    """
    settings = settings_here(os.environ, "redis_url", "database_url")

    import uvloop
    from rich.console import Console

    from atp_service import app, log
    from atp_service.api.reconciliations import document_of
    from atp_service.ledger import reconciliations
    from atp_service.postgres import Unavailable
    from atp_service.workers import reconcile

    log.configure("error", "reconcile")
    console = Console(stderr=True)
    scope = reconciliations.Scope(skus=list(skus), locations=list(locations))

    async def run() -> "Reconciliation | Scope":
        """The run, once it is over; or the unknown part of its scope."""
        async with app.connections(settings, "reconcile") as parts:
            unknown = await reconciliations.unknown(parts.ledger, scope)
            if not unknown.whole:
                return unknown
            with console.status("waiting for a worker …") as status:
                return await reconcile.reconciled(
                    parts.store,
                    parts.ledger,
                    settings.database_url or "",
                    scope,
                    repair=not no_repair,
                    show=lambda so_far: status.update(_line(so_far)),
                )

    try:
        done = uvloop.run(run())
    except Unavailable as away:
        fail(f"Postgres is away: {away}")
    except KeyboardInterrupt:
        fail("stopped; a worker that has begun the run finishes it.", STOPPED)
    if isinstance(done, reconciliations.Scope):
        names = ", ".join([*done.skus, *done.locations])
        fail(f"not known: {names}\nNothing was compared.")
    if as_json:
        print_json(document_of(done))
    elif done.report.drift_total or done.status == "failed":
        Console().print(_table(done))
    else:
        click.echo(f"Nothing differs: {_compared(done)} ({done.report.seconds:.1f} s)")
    if done.status == "failed":
        fail(f"not done: {done.report.reason}")
    sys.exit(1 if done.report.drift_total else 0)


def _line(run: "Reconciliation") -> str:
    if run.status == "requested":
        return "waiting for a worker …"
    return f"{_compared(run)}; {run.report.drift_total:,} differ"


def _compared(run: "Reconciliation") -> str:
    compared = run.report.compared
    return (
        f"{compared.levels:,} levels, {compared.reservations:,} reservations, "
        f"{compared.orders:,} orders, {compared.deadlines:,} deadlines compared"
    )


def _table(run: "Reconciliation") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    report = run.report
    table = Table(title=escape(f"{_line(run)} ({report.seconds:.1f} s)"), title_justify="left")
    for name in ("what", "which", "difference", "repaired by entry"):
        table.add_column(name, overflow="fold")
    for drift in report.drift[:_SHOWN]:
        repaired = str(drift.entry) if drift.repaired else "no"
        cells = (drift.kind, _which(drift), _difference(drift), repaired)
        table.add_row(*map(escape, cells))
    if report.drift_total > _SHOWN:
        table.caption = f"and {report.drift_total - _SHOWN:,} more"
    return table


def _which(drift: "Drift") -> str:
    if drift.sku is not None:
        return f"{drift.sku} at {drift.location}"
    return drift.reservation_id or drift.order_id or ""


def _difference(drift: "Drift") -> str:
    from atp_service.ledger.write.repair_words import in_words

    found, right = drift.found, drift.expected
    if drift.kind == "deadline":
        found, right = _due(found), _due(right)
    return in_words(found, right) or "the same in other bytes"


def _due(at_ms: object) -> object:
    """A deadline with its name; a missing or unreadable one as it is."""
    return {"due_at": at_ms} if isinstance(at_ms, int | float) else at_ms
