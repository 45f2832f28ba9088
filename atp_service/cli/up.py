"""`atp up`: the whole service, with servers of its own."""

import os
import signal

import rich_click as click

from atp_service.cli.output import fail
from atp_service.config import read_settings


@click.command("up")
@click.option("--demo/--no-demo", default=True, help="A small retailer that trades all day.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the parent process dies.")
def command(demo: bool, with_parent: bool) -> None:
    """Run everything: servers, API, worker, demo. Ctrl-C stops it; data stays in ATP_DATA."""
    parent = os.getppid()
    settings = read_settings(os.environ)

    from rich.console import Console

    from atp_service import log
    from atp_service.embedded.errors import CannotStart
    from atp_service.embedded.panel import InstancePanel
    from atp_service.embedded.supervisor import up
    from atp_service.processes.child import die_with_parent

    log.configure(settings.log_level, "up")
    if with_parent:
        die_with_parent(parent, signal.SIGTERM)
    try:
        with InstancePanel(Console()) as panel:
            up(settings, panel, demo=demo)
    except CannotStart as error:
        fail(error)
