"""`atp migrate`: the database's tables, brought up to date."""

import os

import rich_click as click

from atp_service.cli.surroundings import settings_here


@click.command("migrate")
def command() -> None:
    """Bring the database up to date; again is harmless.

    Runs as ATP_MIGRATION_URL, the role that owns the tables, where that is set, and lets the role
    of ATP_DATABASE_URL in.
    """
    from psycopg.conninfo import conninfo_to_dict

    from atp_service.ledger import migrate

    settings = settings_here(os.environ, "database_url")
    service = settings.database_url or ""
    role = conninfo_to_dict(service).get("user")
    migrate(settings.migration_url or service, str(role) if role else None)
    click.echo("The database is up to date.")
