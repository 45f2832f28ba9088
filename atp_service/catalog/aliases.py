"""Which SKU another name is of: one alone, decided in Postgres."""

from typing import Any

from psycopg import AsyncConnection

from atp_service.catalog.records import Sku

# Taken before any row: transactions that change names wait here, and not in a circle.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('atp aliases'))"
_CLAIM = """
INSERT INTO sku_aliases (source, alias, sku)
SELECT DISTINCT source, alias, %(sku)s
FROM unnest(%(sources)s::text[], %(aliases)s::text[]) AS named (source, alias)
ON CONFLICT (source, alias) DO NOTHING
"""
_OWNERS = """
SELECT source, alias, sku
FROM sku_aliases
JOIN unnest(%(sources)s::text[], %(aliases)s::text[]) AS named (source, alias)
    USING (source, alias)
WHERE sku <> %(sku)s
"""


async def lock_aliases(connection: AsyncConnection[Any]) -> None:
    """Until the transaction's end no other changes which SKU a name is of."""
    await connection.execute(_LOCK)


async def claim_aliases(connection: AsyncConnection[Any], sku: Sku) -> dict[tuple[str, str], str]:
    """Make the SKU's names its own. Returns other owners of some of them, by source and name."""
    named = [(source, alias) for source, aliases in sku.aliases.items() for alias in aliases]
    values = {
        "sku": sku.sku,
        "sources": [source for source, _ in named],
        "aliases": [alias for _, alias in named],
    }
    await connection.execute("DELETE FROM sku_aliases WHERE sku = %(sku)s", values)
    if not named:
        return {}
    await connection.execute(_CLAIM, values)
    cursor = await connection.execute(_OWNERS, values)
    return {(source, alias): owner for source, alias, owner in await cursor.fetchall()}
