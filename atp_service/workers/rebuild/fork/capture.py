"""The journal beyond the ledger: what continues the ledger is recorded, the rest is a fork."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from atp_service import ledger
from atp_service.inventory.journal import UNREADABLE, Entry, decode_head
from atp_service.ledger import Batch, Forked, Position, Refused, Stale
from atp_service.ledger.position import read_position
from atp_service.ledger.rebuilds import Missing, digests
from atp_service.postgres import Unavailable
from atp_service.store.raw_partition import Site

log = structlog.get_logger()

_PATIENCE_SECONDS: Final = 20.0  # without another entry; a frozen recorder keeps its lease for ten
_LOOK_SECONDS: Final = 0.05


async def secure(
    site: Site, connection: AsyncConnection[Any], database_url: str, partition: int
) -> Position:
    """The ledger's position, once it has all of the journal that continues it.

    The running recorder records it: it reads the journal of a fenced Redis too. If none runs, it is
    recorded here. Raises Unavailable if neither succeeds.
    """
    give_up, reached = 0.0, -1
    while True:
        position = await read_position(connection, partition)
        if position is None:
            raise Unavailable(f"partition {partition} was never opened")
        if position.seq > reached:
            give_up, reached = time.monotonic() + _PATIENCE_SECONDS, position.seq
        elif time.monotonic() > give_up:
            raise Unavailable(
                f"no recorder has recorded entry {reached + 1} for {_PATIENCE_SECONDS} s"
            )
        entries = await site.journal(position.seq)
        if not entries or not _continues(entries[0], position):
            return position
        try:
            async with ledger.lease(database_url, partition) as appender:
                if appender is not None:
                    await appender.append(_batch(partition, appender.position, entries))
                    continue
        except Stale:
            continue
        except (Refused, Forked) as refused:
            # It continues the ledger and contradicts it, or can't be read: Redis was changed by
            # hand. Its commands are applied again, as a fork's.
            log.error("tail_refused", seq=entries[0].seq, reason=str(refused))
            return position
        await asyncio.sleep(_LOOK_SECONDS)


class Fork:
    """The entries in order, from the first that isn't the ledger's of its seq."""

    def __init__(self, site: Site, connection: AsyncConnection[Any], partition: int) -> None:
        self._site = site
        self._connection = connection
        self._partition = partition
        self.missing: list[Missing] = []

    async def pages(self) -> AsyncIterator[Sequence[Entry]]:
        """All entries, by the page. `missing` is complete at the end."""
        self.missing.clear()
        seq, forked = 0, False
        while entries := await self._site.journal(seq):
            if not forked:
                shared = await self._shared(entries)
                # What the very first one followed is unknown.
                seq = entries[shared - 1].seq if shared else seq or entries[0].seq - 1
                entries = entries[shared:]
                forked = bool(entries)
            for entry in entries:
                if entry.seq > seq + 1:
                    self.missing.append(Missing(seq + 1, entry.seq - 1, entry.digest))
                seq = entry.seq
            if entries:
                yield entries
        latest = (await self._site.header()).seq
        if seq and latest is not None and latest > seq:
            self.missing.append(Missing(seq + 1, latest, ""))

    async def _shared(self, entries: Sequence[Entry]) -> int:
        """How many of the entries the ledger has, from the first on."""
        seqs = [entry.seq for entry in entries]
        recorded = await digests(self._connection, self._partition, seqs)
        return next(
            (i for i, e in enumerate(entries) if recorded.get(e.seq) != e.digest), len(entries)
        )


def _continues(entry: Entry, position: Position) -> bool:
    try:
        head = decode_head(entry.head)
    except UNREADABLE:
        return False
    return (
        entry.seq == position.seq + 1
        and head.epoch == position.epoch
        and entry.digest_after(position.digest) == entry.digest
    )


def _batch(partition: int, position: Position, entries: Sequence[Entry]) -> Batch:
    """As many of the entries as continue the position and can be read; none if it has moved on.
    Raises Forked if the first of them can't be read."""
    batch = Batch(partition, position)
    for place, entry in enumerate(entries):
        if not _continues(entry, batch.position):
            break
        try:
            batch.add(entry)
        except Forked:
            if place == 0:
                raise
            return _batch(partition, position, entries[:place])  # a whole one, without it
    return batch
