"""`atp serve`: the HTTP API."""

import os
import sys

import rich_click as click

from atp_service.cli.surroundings import settings_here


@click.command("serve")
def command() -> None:
    """Serve the HTTP API on ATP_HOST and ATP_PORT, until stopped."""
    settings = settings_here(os.environ, "redis_url", "database_url")

    from atp_service import app, log

    log.configure(settings.log_level, "serve")
    sys.exit(app.serve(settings))
