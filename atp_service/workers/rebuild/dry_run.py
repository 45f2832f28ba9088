"""All that a rebuild would read of the ledger, read and decoded, and put nowhere.

Asked for by hand a rebuild fences a Redis that may be sound: not before it is known that it can be
filled again.
"""

from datetime import UTC, datetime

from atp_service.inventory.journal import Entry
from atp_service.inventory.reservations import decode_order
from atp_service.inventory.stock import SEPARATOR, decode_level
from atp_service.ledger import Position
from atp_service.store.keys import Keys
from atp_service.store.raw_partition import Pairs
from atp_service.workers.rebuild.restore import Filling, readable


async def check(
    database_url: str, keys: Keys, position: Position, *, partition: int, window_ms: int
) -> None:
    """Returns where the ledger can be read. Raises Unreadable, and its Unavailable."""
    await Filling(
        _Nowhere(keys),
        database_url,
        keys,
        position,
        partition=partition,
        window_ms=window_ms,
        now_ms=int(datetime.now(UTC).timestamp() * 1000),
    ).run()


class _Nowhere:
    """Looks at what goes out undecoded otherwise."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def put(self, key: str, pairs: Pairs) -> None:
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            if key == self._keys.orders:
                readable(decode_order, value, f"order {name.decode()}")
            elif key == self._keys.stock and SEPARATOR.encode() in name:
                place = name.decode().replace(SEPARATOR, " at ")
                readable(decode_level, value, f"the level {place}")

    async def put_deadlines(self, pairs: Pairs) -> None:
        """They are numbers."""

    async def put_entry(self, entry: Entry) -> None:
        """It is put back as it was."""

    async def finish(self, *, seq: int, digest: str, at_ms: int, rotated_at_ms: int) -> None:
        """All could be read."""
