"""The commands that publish a source's file by a mapping: their options, and their run."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rich_click as click

from atp_service.cli.output import STOPPED, fail, print_json
from atp_service.cli.settings import settings_here

if TYPE_CHECKING:
    from atp_service.replay.summary import Summary

file_argument = click.argument("file", type=click.Path(path_type=Path))
map_option = click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MAP.toml",
    help="The mapping: the meaning of the rows.",
)


def publish_file(
    file: Path, map_path: Path, *, snapshot: bool, at: str | None = None, as_json: bool
) -> NoReturn:
    """Publish a file's rows as events or as a snapshot, print the summary, and exit.

    The exit code is 1 after unreadable rows, 2 for a file or mapping that cannot be used, and 130
    after Ctrl-C. Raises SettingsError.
    """
    settings = settings_here(os.environ, "redis_url", "nats_url", "database_url")

    import uvloop
    from rich.console import Console

    from atp_service import app, log
    from atp_service.adapters.mapping.config import MappingError, load_mapping, read_time
    from atp_service.adapters.mapping.csv_file import FileError
    from atp_service.progress import view
    from atp_service.replay.run import replay
    from atp_service.replay.snapshot import compare
    from atp_service.replay.summary import tables

    name = "snapshot" if snapshot else "replay"
    log.configure("warning", name)

    async def run() -> "Summary":
        mapping = load_mapping(map_path, None if at is None else read_time(at))
        async with app.connections(settings, name) as to:
            with view(Console(stderr=True), silent=as_json) as watching:
                if snapshot:
                    feeds = to.catalog.feeds
                    return await compare(
                        file, mapping, to.nats, to.store, to.ledger, watching, feeds
                    )
                return await replay(file, mapping, to.nats, to.store, to.ledger, watching)

    try:
        summary = uvloop.run(run())
    except (MappingError, FileError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("stopped. Events count once: run the same command again to go on.", STOPPED)
    if as_json:
        print_json(summary)
    else:
        for table in tables(summary):
            Console().print(table)
    sys.exit(1 if summary.unreadable else 0)
