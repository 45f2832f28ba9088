"""`atp worker`: the processes behind the API."""

import os
import sys

import rich_click as click

from atp_service.cli.settings import settings_here
from atp_service.config import SettingsError
from atp_service.workers import ROLES, Role


@click.command("worker")
@click.option("--only", metavar="ROLES", help=f"Some of {','.join(ROLES)}; by default all.")
def command(only: str | None) -> None:
    """Ingest events, record the journal, expire holds, compare and repair Redis, until stopped."""
    roles = _roles(only)
    needed = ["redis_url", "database_url"]
    if "ingest" in roles:
        needed.append("nats_url")
    settings = settings_here(os.environ, *needed)

    from atp_service import app, log

    log.configure(settings.log_level, "worker")
    sys.exit(app.work(settings, roles))


def _roles(only: str | None) -> tuple[Role, ...]:
    if only is None:
        return ROLES
    named = {part.strip() for part in only.split(",") if part.strip()}
    roles = tuple(role for role in ROLES if role in named)
    if not roles or named.difference(roles):
        raise SettingsError(f"--only {only}: no such role\nThere are {', '.join(ROLES)}.")
    return roles
