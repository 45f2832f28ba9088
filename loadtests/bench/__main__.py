"""`python -m loadtests.bench [ROW …] [--against COMMIT]`: measures, and prints the board.

A scoreboard, not a test: it ends with 0 whatever it measured.
"""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console

from atp_service import log
from atp_service.embedded import allocator
from loadtests.bench import (
    against_evalsha,
    against_postgres,
    availability,
    cart_lines,
    fsync,
    growth,
    hold_cpu,
    hot_sku,
    ingest,
    ledger_tier,
    memory,
    overload,
    rebuild,
    reconcile,
    record,
    refusals,
    script,
    verify,
    workers,
    year,
)
from loadtests.bench.board import Board, Row, plain, table
from loadtests.bench.commits import Side, checkout, compare, comparison_table
from loadtests.bench.machine import ROOT
from loadtests.bench.plot import plot

ROWS = {
    "hold-cpu": hold_cpu.measure,
    "hot-sku": hot_sku.measure,
    "script": script.measure,
    "fsync": fsync.measure,
    "ingest": ingest.measure,
    "record": record.measure,
    "reconcile": reconcile.measure,
    "rebuild": rebuild.measure,
    "verify": verify.measure,
    "ledger-tier": ledger_tier.measure,
    "against-evalsha": against_evalsha.measure,
    "against-postgres": against_postgres.measure,
    "availability": availability.measure,
    "refusals": refusals.measure,
    "cart-lines": cart_lines.measure,
    "overload": overload.measure,
    "workers": workers.measure,
    "growth": growth.measure,
    "year": year.measure,
    "memory": memory.measure,
}
_PLAIN_COLUMNS = 140


@click.command("bench")
@click.argument("rows", nargs=-1, metavar="[ROW]…", type=click.Choice(list(ROWS)))
@click.option("--quick", is_flag=True, help="Few and short rounds: to see whether it runs.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the board here.")
@click.option("--against", metavar="COMMIT", help="The rows on COMMIT too, in turn: the ratios.")
@click.option(
    "--pairs",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How often a row runs on each commit, with --against.",
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw the growth here.")
def bench(
    rows: tuple[str, ...],
    quick: bool,
    json_file: Path | None,
    against: str | None,
    pairs: int,
    plot_file: Path | None,
) -> None:
    """Measure the service beside its rivals or another commit; all rows, if none is named."""
    # SIGTERM ends us as Ctrl-C does: the servers that we started end first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    log.configure("warning", "bench")
    console = Console(stderr=True)
    out = Console()
    if not out.is_terminal:
        out = Console(width=_PLAIN_COLUMNS)
    if against is not None:
        if plot_file is not None:
            raise click.UsageError("--plot draws one commit: leave --against out")
        compared = []
        with checkout(against) as other:
            for name in rows or ROWS:
                console.print(f"{name} …", highlight=False)
                compared += compare(name, Side("this tree", ROOT), other, pairs=pairs, quick=quick)
        out.print(comparison_table(compared, other.name))
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(compared)))
        return
    started_at = time.strftime("%Y-%m-%d %H:%M")
    done: list[Row] = []
    for name in rows or ROWS:
        console.print(f"{name} …", highlight=False)
        done.append(_measured(name, quick=quick))
    board = Board(
        quick=quick,
        cores=os.cpu_count() or 1,
        allocator="mimalloc" if allocator.mimalloc() else "libc's malloc",
        started_at=started_at,
        rows=done,
    )
    out.print(table(board))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(plain(board))))
    if plot_file is not None:
        plot(board, plot_file)


def _measured(name: str, *, quick: bool) -> Row:
    began, load = time.monotonic(), os.getloadavg()[0]
    result = ROWS[name](quick=quick)
    return Row(
        name=name,
        result=result,
        seconds=time.monotonic() - began,
        load_before=load,
        load_after=os.getloadavg()[0],
    )


if __name__ == "__main__":
    bench()
