"""What the end of a snapshot waits for in this process: earlier calls, and lines put off.

Whoever closes a snapshot must not overtake its lines: what has not been compared yet would look
as if the source had left it out.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from atp_service.inventory.commands import Snapshot, SnapshotClosed

Part = tuple[str, str, int]


class UnderWay:
    """Calls that are being worked on, and lines that were told to come again."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Future[None]] = set()
        self._put_off: dict[Part, set[str]] = {}

    @contextmanager
    def call(self) -> Iterator[frozenset["asyncio.Future[None]"]]:
        """While a call is worked on; gives those that began before it and are not done yet."""
        before = frozenset(self._calls)
        ours: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls.add(ours)
        try:
            yield before
        finally:
            self._calls.discard(ours)
            ours.set_result(None)

    def note(self, line: Snapshot, *, taken: bool) -> None:
        """Remember a line that is to come again, or that it has come."""
        part = _part(line)
        if not taken:
            self._put_off.setdefault(part, set()).add(line.event_id)
        elif part in self._put_off:
            self._put_off[part].discard(line.event_id)

    def put_off(self, closed: SnapshotClosed) -> set[str]:
        """Ids of the lines of this part that were put off, as far as we know."""
        return self._put_off.get(_part(closed), set())

    def forget(self, closed: SnapshotClosed) -> None:
        self._put_off.pop(_part(closed), None)


def _part(told: Snapshot | SnapshotClosed) -> Part:
    return told.source, told.location, told.occurred_at_ms
