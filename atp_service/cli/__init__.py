"""The command line. Each command is a module here, imported only when it runs."""

import importlib
from typing import cast

import rich_click as click

from atp_service.cli.output import fail
from atp_service.config import SettingsError

_COMMANDS = (
    "up",
    "serve",
    "worker",
    "reconcile",
    "rebuild",
    "migrate",
    "verify",
    "explain",
    "trace",
    "replay",
    "snapshot",
    "rehearse",
    "demo",
    "env",
)


class _Commands(click.RichGroup):
    """Commands by their module's name: `atp worker` does not pay for the imports of `atp up`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"atp_service.cli.{cmd_name}")
        return cast("click.Command", module.command)


@click.group(cls=_Commands)
@click.version_option(package_name="atp-service")
def atp() -> None:
    """How many units can be sold, here, now, on this channel; and the promise kept."""


def main() -> None:
    """Run a command. A wrong or missing setting ends it with 2 and a sentence."""
    try:
        atp(prog_name="atp")
    except SettingsError as error:
        fail(error)
