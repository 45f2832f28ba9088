"""`atp replay`: a source's file, from its rows to the ledger."""

import os
import sys
from pathlib import Path

import rich_click as click

from atp_service.cli.file_options import file_argument, json_option, map_option, told
from atp_service.cli.settings import settings_here


@click.command("replay")
@file_argument
@map_option
@json_option
def command(file: Path, map_path: Path, as_json: bool) -> None:
    """Publish the rows of a CSV (also .gz) as stock events, and wait until the ledger has them.

    A row counts once, however often it is replayed: after Ctrl-C run the same command again.
    Exits with 1 if there were rows that no event could be read from, with 2 if nothing was done.
    """
    settings = settings_here(os.environ, "redis_url", "nats_url", "database_url")

    import msgspec
    from rich.console import Console

    from atp_service import app, log
    from atp_service.adapters.mapping.config import load_mapping
    from atp_service.progress import view
    from atp_service.replay.run import replay
    from atp_service.replay.summary import Summary, table

    log.configure("warning", "replay")
    console = Console(stderr=True)

    async def run() -> Summary:
        mapping = load_mapping(map_path)
        async with app.connections(settings, "replay") as connections:
            with view(console, silent=as_json) as watching:
                return await replay(
                    file,
                    mapping,
                    nats=connections.nats,
                    store=connections.store,
                    ledger=connections.ledger,
                    view=watching,
                )

    summary = told(run)
    if as_json:
        click.echo(msgspec.json.encode(summary).decode())
    else:
        Console().print(table(summary))
    sys.exit(1 if summary.unreadable else 0)
