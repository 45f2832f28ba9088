"""Whether a Redis that continues the ledger may have lost what it had beyond it.

Nothing in it tells. But what loses anything so is another run of it (restored, or promoted), has
followed another Redis for a while, or was set back under us. Each is a doubt, which the ledger
keeps until the event stream is replayed; a restart in good order is one too, and costs that replay.
"""

import structlog

from atp_service.ledger import Ledger, Position
from atp_service.store.epoch_guard import RedisHeader

log = structlog.get_logger()


def may_have_lost(before: RedisHeader, after: RedisHeader) -> bool:
    """Whether anything may have gone from one look at Redis to the next."""
    if (before.run_id, before.history, before.epoch) != (after.run_id, after.history, after.epoch):
        return True
    seq_before, seq_after = before.seq or 0, after.seq or 0
    return seq_after < seq_before or (seq_after == seq_before and after.digest != before.digest)


class Doubts:
    """Weighs each look at Redis against the one before, and against the run that the ledger knows:
    whoever opened it first may have seen no other."""

    def __init__(self, ledger: Ledger, partition: int) -> None:
        self._ledger = ledger
        self._partition = partition
        self._last: RedisHeader | None = None

    async def weigh(self, position: Position, header: RedisHeader) -> None:
        """Tell the ledger where there is a doubt. Of a Redis that continues it, looked at after the
        position was read. Raises the ledger's Unavailable."""
        before = self._last
        if header.run_id != position.run_id:
            await self._ledger.open(self._partition, position.epoch, header.run_id)
        # In another epoch it has been rebuilt, which is followed by a replay of its own.
        elif before and before.epoch == header.epoch and may_have_lost(before, header):
            log.warning("redis_doubted", seq_before=before.seq, seq=header.seq)
            await self._ledger.doubt(self._partition)
        # Not before it has been told: else it would be forgotten with the ledger away.
        self._last = header
