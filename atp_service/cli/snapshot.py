"""`atp snapshot`: what a source believes it has, from its file, compared with the ledger."""

import os
import sys
from pathlib import Path

import rich_click as click

from atp_service.cli.file_options import file_argument, json_option, map_option, told
from atp_service.cli.settings import settings_here


@click.command("snapshot")
@file_argument
@map_option
@click.option(
    "--at",
    metavar="TIME",
    help="When the snapshot was taken (RFC 3339), whatever the mapping says.",
)
@json_option
def command(file: Path, map_path: Path, at: str | None, as_json: bool) -> None:
    """Publish the rows of a CSV (also .gz) as a snapshot, and say how it compares with the ledger.

    Compared is as of the time the snapshot was taken. What becomes of a difference is the feed's
    policy: corrected, for review, or only reported. A file counts once, however often it is told.
    Exits with 1 if there were rows that could not be read, with 2 if nothing was done.
    """
    settings = settings_here(os.environ, "redis_url", "nats_url", "database_url")

    import msgspec
    from rich.console import Console

    from atp_service import app, log
    from atp_service.adapters.mapping.config import load_mapping, read_time
    from atp_service.progress import view
    from atp_service.replay.snapshot import compare
    from atp_service.replay.summary import SnapshotSummary, largest_differences, table

    log.configure("warning", "snapshot")
    console = Console(stderr=True)

    async def run() -> SnapshotSummary:
        mapping = load_mapping(map_path, None if at is None else read_time(at))
        async with app.connections(settings, "snapshot") as connections:
            with view(console, silent=as_json) as watching:
                return await compare(
                    file,
                    mapping,
                    nats=connections.nats,
                    store=connections.store,
                    ledger=connections.ledger,
                    feeds=connections.catalog.feeds,
                    view=watching,
                )

    summary = told(run)
    if as_json:
        click.echo(msgspec.json.encode(summary).decode())
    else:
        Console().print(table(summary))
        if summary.largest:
            Console().print(largest_differences(summary))
    sys.exit(1 if summary.unreadable else 0)
