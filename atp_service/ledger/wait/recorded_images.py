"""Whether the ledger's entries have the images that callers got, asked for many at once.

Epoch and seq alone don't name an entry: a Redis that was set back gives the same numbers anew. The
image that the caller got does, since its entry has it byte for byte.
"""

from collections.abc import Sequence
from typing import Final

from atp_service.inventory.entry_ref import EntryRef
from atp_service.postgres import ImpatientPool

AT_ONCE: Final = 500

_HAVE = """
SELECT asked.place
FROM unnest(%(partitions)s::integer[], %(seqs)s::bigint[], %(images)s::bytea[])
    WITH ORDINALITY AS asked (partition, seq, image, place)
JOIN entries
  ON entries.partition = asked.partition
 AND entries.seq = asked.seq
WHERE position(asked.image IN entries.images) > 0
"""


async def recorded_images(
    pool: ImpatientPool, asked: Sequence[tuple[EntryRef, bytes]]
) -> list[bool]:
    """For each (entry, image) whether the ledger's entry has the image. Raises Unavailable."""
    rows = await pool.rows(
        _HAVE,
        {
            "partitions": [entry.partition for entry, _ in asked],
            "seqs": [entry.seq for entry, _ in asked],
            "images": [image for _, image in asked],
        },
    )
    places = {place for (place,) in rows}
    return [place in places for place in range(1, len(asked) + 1)]
