"""The output of commands: JSON on request, and for each failure one line and a remedy."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])

STOPPED = 130  # the exit code after Ctrl-C


def json_option(what: str) -> Callable[[F], F]:
    """The option `--json`, as the parameter `as_json`; `what` names the command's result."""
    words = f"Print the {what} as JSON and nothing else."
    return click.option("--json", "as_json", is_flag=True, help=words)


def print_json(value: object) -> None:
    """Print a value as JSON on one line."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def fail(message: object, code: int = 2) -> NoReturn:
    """Print `atp: <message>` to stderr and exit with the code."""
    click.echo(f"atp: {message}", err=True)
    sys.exit(code)
