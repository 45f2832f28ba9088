"""`atp migrate`: the tables of the database, up to date."""

import os

import rich_click as click

from atp_service.cli.settings import settings_here
from atp_service.config import SettingsError


@click.command("migrate")
def command() -> None:
    """Bring the database up to date. A repeat is harmless.

    Runs as ATP_MIGRATION_URL, the role that owns the tables, if that is set. Grants the role of
    ATP_DATABASE_URL what the service needs.
    """
    import psycopg
    import sqlalchemy.exc
    from psycopg.conninfo import conninfo_to_dict

    from atp_service.ledger import migrate
    from atp_service.postgres import TooOld

    settings = settings_here(os.environ, "database_url")
    service = settings.database_url or ""
    role = conninfo_to_dict(service).get("user")
    try:
        migrate(settings.migration_url or service, str(role) if role else None)
    except TooOld as fault:
        raise SettingsError(f"The database could not be brought up to date: {fault}") from None
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as fault:
        reason = str(getattr(fault, "orig", None) or fault).splitlines()[0]
        raise SettingsError(
            f"The database could not be brought up to date: {reason}\n"
            "Set ATP_MIGRATION_URL to the role that owns the tables, on a server that answers."
        ) from None
    click.echo("The database is up to date.")
