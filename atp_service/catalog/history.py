"""Master data as it was: each change since the first is kept in Postgres."""

from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.json import decode

from atp_service.catalog.catalog import Catalog
from atp_service.catalog.records import Channel, Location, Sku

R = TypeVar("R", Channel, Sku, Location)


class PastRecord(Struct, Generic[R], frozen=True):
    """A record as it was, None if it was deleted; since when (Unix ms), None if that is unknown."""

    record: R | None
    since_ms: int | None


async def record_at(catalog: Catalog, kind: type[R], key: str, at_ms: int) -> PastRecord[R] | None:
    """The record as it was at the end of that millisecond; None if it did not exist yet.

    Of a SKU None as well if it had never been deleted: its past is not kept. Raises Unavailable.
    """
    rows = await catalog.rows(
        """
        SELECT document::text, floor(extract(epoch FROM at) * 1000)::bigint
        FROM catalog_history
        WHERE kind = %(kind)s
          AND id = %(id)s
          AND at < to_timestamp((%(at_ms)s::bigint + 1) / 1000.0)
        ORDER BY catalog_history.at DESC
        LIMIT 1
        """,
        {"kind": kind.table, "id": key, "at_ms": at_ms},
    )
    if not rows:
        return None
    document, since_ms = rows[0]
    return PastRecord(None if document is None else decode(document, type=kind), since_ms)
