"""`atp replay`: a source's file, from its rows to the ledger."""

from pathlib import Path

import rich_click as click

from atp_service.cli.file_options import file_argument, map_option, publish_file
from atp_service.cli.output import json_option


@click.command("replay")
@file_argument
@map_option
@json_option("summary")
def command(file: Path, map_path: Path, as_json: bool) -> None:
    """Publish the rows of a CSV (also .gz) as stock events, and wait until the ledger has them.

    A row counts once, however often it is replayed: after Ctrl-C run the same command again.
    Exits with 1 if there were unreadable rows, with 2 if nothing was done.
    """
    publish_file(file, map_path, snapshot=False, as_json=as_json)
