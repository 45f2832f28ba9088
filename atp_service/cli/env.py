"""`atp env`: the addresses of the running instance, for the shell."""

import os
import shlex

import rich_click as click

from atp_service.cli.settings import settings_here
from atp_service.config import variable


@click.command("env")
def command() -> None:
    """Print the URLs, and the settings that processes share, as exports: `eval "$(atp env)"`."""
    settings = settings_here(os.environ, "redis_url", "nats_url", "database_url")
    for name in ("redis_url", "nats_url", "database_url"):
        click.echo(f"export {variable(name)}={shlex.quote(getattr(settings, name))}")
    if settings.auto_create is not None:
        # Processes beside the instance must agree with it on unknown SKUs and locations.
        click.echo(f"export {variable('auto_create')}={str(settings.auto_create).lower()}")
    # And on the place that has a promise before the caller gets an answer.
    click.echo(f"export {variable('durability')}={settings.durability}")
