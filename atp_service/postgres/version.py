"""The oldest PostgreSQL that the service runs on."""

from typing import Final

from atp_service.postgres.unavailable import Unavailable

OLDEST: Final = 15


class TooOld(Unavailable):
    """The server, or the ledger in it, is of a version that the service does not run on."""


def check_version(server_version: int) -> None:
    """Raises TooOld for an older server; 150004 is PostgreSQL 15.4."""
    major, minor = divmod(server_version, 10_000)
    if major < OLDEST:
        raise TooOld(f"PostgreSQL {major}.{minor} is too old: the service needs {OLDEST} or later")
