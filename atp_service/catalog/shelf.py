"""One kind of record: its records in memory, and how its table is read and written."""

from collections.abc import Iterable, Sequence
from typing import Final, Generic, LiteralString, TypeVar

import structlog
from msgspec import DecodeError
from msgspec.json import Decoder
from psycopg import sql

from atp_service.catalog.records import Record

log = structlog.get_logger()

R = TypeVar("R", bound=Record)

_SELECT_PAGE: Final = """
SELECT id, document::text
FROM {}
WHERE id > %(after)s
ORDER BY id
LIMIT 2000
"""
_SELECT: Final = "SELECT id, document::text FROM {} WHERE id = ANY(%(ids)s)"
_UPSERT: Final = """
INSERT INTO {} (id, document)
VALUES (%(id)s, %(document)s)
ON CONFLICT (id) DO UPDATE
SET document = EXCLUDED.document, updated_at = now()
"""
_DELETE: Final = "DELETE FROM {} WHERE id = %(id)s RETURNING document::text"
_INSERT: Final = """
INSERT INTO {} AS known (id, document)
SELECT id, document::jsonb
FROM unnest(%(ids)s::text[], %(documents)s::text[]) AS new (id, document)
ORDER BY id
ON CONFLICT (id)
"""
_KEEP: Final = "DO NOTHING"
ADD_LOCATIONS: Final = """
DO UPDATE
SET document = jsonb_set(
        known.document,
        '{{locations}}',
        (
            SELECT coalesce(jsonb_agg(DISTINCT location ORDER BY location), '[]')
            FROM jsonb_array_elements(
                (known.document -> 'locations') || (EXCLUDED.document -> 'locations')
            ) AS both_of (location)
        )
    ),
    updated_at = now()
"""


class Shelf(Generic[R]):
    """The records of a kind, by id; `unwritten` are those that Postgres does not have yet.

    `if_known`: what a first sight does to a row that is there already.
    """

    def __init__(self, kind: type[R], if_known: LiteralString = _KEEP) -> None:
        self.kind = kind
        self.records: dict[str, R] = {}
        self.unwritten: dict[str, R] = {}
        self.select_page = self._statement(_SELECT_PAGE)
        self.select = self._statement(_SELECT)
        self.upsert = self._statement(_UPSERT)
        self.delete = self._statement(_DELETE)
        self.insert = self._statement(_INSERT + if_known)
        self.decode = Decoder(kind).decode

    def new(self, key: str) -> R:
        """A record with defaults."""
        return self.kind(**{self.kind.id_field: key})

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those that memory does not have."""
        return [key for key in keys if key not in self.records]

    def decoded(self, rows: Sequence[tuple[str, str]]) -> dict[str, R]:
        """The records, by id. One that can't be read (a newer version's, or one written by hand)
        is left as memory has it."""
        records = {}
        for key, document in rows:
            try:
                records[key] = self.decode(document)
            except DecodeError as fault:
                table = self.kind.table
                log.error("master_data_unreadable", table=table, id=key, reason=str(fault))
        return records

    def _statement(self, text: LiteralString) -> sql.Composed:
        return sql.SQL(text).format(sql.Identifier(self.kind.table))
