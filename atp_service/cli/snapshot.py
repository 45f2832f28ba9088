"""`atp snapshot`: a source's own stock figures, from its file, compared with the ledger."""

from pathlib import Path

import rich_click as click

from atp_service.cli.file_options import file_argument, map_option, publish_file
from atp_service.cli.output import json_option


@click.command("snapshot")
@file_argument
@map_option
@click.option(
    "--at", metavar="TIME", help="The snapshot's time (RFC 3339), in place of the mapping's."
)
@json_option("summary")
def command(file: Path, map_path: Path, at: str | None, as_json: bool) -> None:
    """Publish the rows of a CSV (also .gz) as a snapshot, and compare it with the ledger.

    The comparison is as of the snapshot's time. The feed's policy decides what happens to a
    difference: it is corrected, reviewed, or only reported. A file counts once, however often it
    is published. Exits with 1 if there were unreadable rows, with 2 if nothing was done.
    """
    publish_file(file, map_path, snapshot=True, at=at, as_json=as_json)
