"""`atp serve`: the HTTP API."""

import os
import sys

import rich_click as click

from atp_service.cli.settings import settings_here


@click.command("serve")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    metavar="N",
    help="The number of processes on the port; by default 1.",
)
@click.option("--one-of-several", is_flag=True, hidden=True)
def command(workers: int, one_of_several: bool) -> None:
    """Serve the HTTP API on ATP_HOST and ATP_PORT, until stopped."""
    settings = settings_here(os.environ, "redis_url", "database_url")

    from atp_service import log

    log.configure(settings.log_level, "serve")
    if workers > 1:
        from atp_service.processes import api_group

        sys.exit(api_group.serve(settings, workers))

    from atp_service import app

    sys.exit(app.serve(settings, share_port=one_of_several))
