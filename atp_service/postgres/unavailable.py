"""Postgres is away: one exception, whichever part of the service asks."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


class Unavailable(Exception):
    """Postgres can't be reached now, or doesn't return in time; a later retry may help."""


class SchemaMissing(Unavailable):
    """The database has none of our tables: an operator has yet to run `atp migrate`."""


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn psycopg's errors of an absent or silent Postgres into `Unavailable`."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise SchemaMissing("the database has no schema yet: run `atp migrate`") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(str(error).strip() or type(error).__name__) from error
