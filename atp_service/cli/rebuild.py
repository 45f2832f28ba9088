"""`atp rebuild`: Redis from the ledger, now."""

import os
import sys

import rich_click as click

from atp_service.cli.output import fail, json_option, print_json
from atp_service.cli.settings import settings_here


@click.command("rebuild")
@click.option("--yes", is_flag=True, help="Don't ask, even if Redis is as it should be.")
@json_option("report")
def command(yes: bool, as_json: bool) -> None:
    """Empty Redis and fill it from the ledger, as the workers do by themselves when it lost writes.

    Nothing can be promised meanwhile. Exits with 0 once Redis is open, with 1 if another process
    is rebuilding it, with 2 if nothing was done.
    """
    settings = settings_here(os.environ, "redis_url", "database_url")

    import uvloop
    from rich.console import Console

    from atp_service import app, log, postgres, store
    from atp_service.progress import view
    from atp_service.store.raw_partition import Site, Superseded
    from atp_service.workers import rebuild
    from atp_service.workers.rebuild.report import table

    log.configure("error", "rebuild")
    console = Console(stderr=True)

    async def need(tools: rebuild.Tools) -> str | None:
        site = Site(tools.redis_url, name="rebuild", partition=tools.partition)
        try:
            return await rebuild.why(site, lambda: tools.ledger.position(tools.partition))
        finally:
            await site.close()

    async def run() -> list[rebuild.Report | None]:
        """A report for each partition; None for one that another process is rebuilding."""
        async with app.connections(settings, "rebuild") as parts:
            every = [app.rebuild_tools(settings, parts, p.number) for p in parts.store.partitions]
            if not yes and None in [await need(tools) for tools in every]:
                question = "Redis continues the ledger. Rebuild it all the same?"
                if not click.confirm(question, err=True):
                    sys.exit(2)
            with view(console, silent=as_json) as watching:
                watching.show("rebuild", None, "Redis from the ledger")
                return [
                    await rebuild.rebuild(tools, by_hand=True, show=watching.show)
                    for tools in every
                ]

    try:
        reports = uvloop.run(run())
    except rebuild.NotToBeRebuilt as behind:
        fail(
            f"{behind}\nA rebuild would destroy entries that only Redis has. Restore the ledger,"
            " or start the release that wrote them; or, if you have neither, empty Redis yourself."
        )
    except rebuild.Unreadable as fault:
        fail(f"{fault}\nRedis was not changed, if it was sound. `atp verify` names the damage.")
    except (postgres.Unavailable, store.Unavailable, store.Fenced, Superseded) as fault:
        fail(f"broken off: {fault}\nRun it again, or leave it to the worker.")
    for report in reports:
        if report is None:
            click.echo("atp: another process is rebuilding it.", err=True)
        elif as_json:
            print_json(report)
        else:
            Console().print(table(report))
    if None in reports:
        sys.exit(1)
