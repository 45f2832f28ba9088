"""What commands that take a source's file and its mapping have in common."""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

T = TypeVar("T")

file_argument = click.argument("file", type=click.Path(path_type=Path))
map_option = click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MAP.toml",
    help="What the rows mean.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else."
)


def told(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `run` comes to. Ends the command with 2 where file or mapping can't be used, with 130
    after Ctrl-C."""
    import uvloop

    from atp_service.adapters.mapping.config import MappingError
    from atp_service.adapters.mapping.csv_file import FileError

    try:
        return uvloop.run(run())
    except (MappingError, FileError) as error:
        click.echo(f"atp: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo(
            "atp: stopped. What was published counts once: run the same command again to go on.",
            err=True,
        )
        sys.exit(130)
