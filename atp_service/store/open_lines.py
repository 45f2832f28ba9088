"""Lines of snapshots that came by HTTP and are not applied yet.

The end of a snapshot waits for them, whichever process takes it in. They stand beside the keys of
the partition, and no entry explains them: a Redis that is rebuilt has none. A line that its caller
never sends once more delays the end for a day.
"""

from collections.abc import Collection
from typing import Final

from atp_service.store.connection import Reader

KEPT_SECONDS: Final = 86_400

SnapshotKey = tuple[str, int]  # the feed, and the moment in ms


class OpenLines:
    """Ids of the open lines of each snapshot. Each method raises Unavailable."""

    def __init__(self, reader: Reader, partition: int) -> None:
        self._reader = reader
        self._prefix = f"open_lines:{{{partition}}}"

    async def add(self, snapshot: SnapshotKey, ids: Collection[str]) -> None:
        """Note the lines before any of them is applied."""
        key = self._key(snapshot)
        await self._reader.ask(("SADD", key, *ids), ("EXPIRE", key, KEPT_SECONDS))

    async def remove(self, snapshot: SnapshotKey, ids: Collection[str]) -> None:
        """Forget lines that are applied or parked."""
        if ids:
            await self._reader.ask(("SREM", self._key(snapshot), *ids))

    async def of(self, snapshot: SnapshotKey) -> set[str]:
        """The snapshot's open lines."""
        (ids,) = await self._reader.ask(("SMEMBERS", self._key(snapshot)))
        return {line_id.decode() for line_id in ids}

    def _key(self, snapshot: SnapshotKey) -> str:
        feed, taken_at_ms = snapshot
        return f"{self._prefix}:{taken_at_ms}:{feed}"
