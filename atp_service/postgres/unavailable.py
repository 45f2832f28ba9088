"""Postgres is away: the one thing that callers of the ledger catch."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


class Unavailable(Exception):
    """The ledger can't be reached now; asking again later may help."""


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn every way in which Postgres can be away, not answering in time included, into one."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise Unavailable("the database has no schema yet: run `atp migrate`") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(str(error).strip() or type(error).__name__) from error
