"""`atp reconcile`: Redis compared with the ledger, now."""

import os
import sys
from typing import TYPE_CHECKING

import rich_click as click

from atp_service.cli.surroundings import settings_here

if TYPE_CHECKING:
    from rich.table import Table

    from atp_service.ledger.reconciliations import Drift, Reconciliation

_SHOWN = 30  # differences in the table; all of the report with --json


@click.command("reconcile")
@click.option("--sku", "skus", multiple=True, metavar="SKU", help="Only levels of it; repeatable.")
@click.option(
    "--location", "locations", multiple=True, metavar="ID", help="Only levels there; repeatable."
)
@click.option("--no-repair", is_flag=True, help="Tell what differs and leave it as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON and nothing else.")
def command(
    skus: tuple[str, ...], locations: tuple[str, ...], no_repair: bool, as_json: bool
) -> None:
    """Compare Redis with the ledger while selling goes on, and repair what somebody changed.

    Without --sku and --location everything is compared: levels, reservations, orders, deadlines.
    A worker does it where one runs; else this command. Exits with 1 if there was a difference,
    repaired or not, with 2 if it could not be done.
    """
    settings = settings_here(os.environ, "redis_url", "database_url")

    import msgspec
    import uvloop
    from rich.console import Console

    from atp_service import app, log, reconcile
    from atp_service.ledger import Unavailable
    from atp_service.ledger.reconciliations import Scope

    log.configure("error", "reconcile")
    console = Console(stderr=True)

    async def run() -> "Reconciliation":
        scope = Scope(skus=list(skus), locations=list(locations))
        async with app.connections(settings, "reconcile") as parts:
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
        click.echo(f"atp: Postgres can't be asked: {away}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("atp: stopped; a worker that has taken the run up goes on with it.", err=True)
        sys.exit(130)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
    else:
        Console().print(_table(done))
    if done.status == "failed":
        click.echo(f"atp: not done: {done.report.reason}", err=True)
        sys.exit(2)
    sys.exit(1 if done.report.drift_total else 0)


def _line(run: "Reconciliation") -> str:
    compared = run.report.compared
    if run.status == "requested":
        return "waiting for a worker …"
    return (
        f"{compared.levels:,} levels, {compared.reservations:,} reservations, "
        f"{compared.orders:,} orders, {compared.deadlines:,} deadlines compared; "
        f"{run.report.drift_total:,} differ"
    )


def _table(run: "Reconciliation") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    report = run.report
    table = Table(title=escape(f"{_line(run)} ({report.seconds:.1f} s)"), title_justify="left")
    for name in ("what", "which", "found", "expected", "repaired by entry"):
        table.add_column(name, overflow="fold")
    for drift in report.drift[:_SHOWN]:
        repaired = str(drift.entry) if drift.repaired else "no"
        cells = (drift.kind, _which(drift), _short(drift.found), _short(drift.expected), repaired)
        table.add_row(*map(escape, cells))
    if report.drift_total > _SHOWN:
        table.caption = f"and {report.drift_total - _SHOWN:,} more"
    return table


def _which(drift: "Drift") -> str:
    if drift.sku is not None:
        return f"{drift.sku} at {drift.location}"
    return drift.reservation_id or drift.order_id or ""


def _short(value: object) -> str:
    """What there is of it in a cell; nothing is a dash."""
    if isinstance(value, dict):
        shown = {name: part for name, part in value.items() if part not in (0, "", None, [])}
        return ", ".join(f"{name} {part}" for name, part in shown.items())
    return "–" if value is None else str(value)
