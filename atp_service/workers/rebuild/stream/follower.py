"""The event stream while Redis is open: followed by checkpoints, or replayed after a loss.

A Redis that continues the ledger may still have lost what came after the ledger's last entry.
Nothing in it shows that. So each sign of it is a suspected loss: the ledger counts it until the
stream is replayed. A restart in good order is one too, and costs that replay.
"""

import structlog
from nats.aio.client import Client

from atp_service.facts import Facts
from atp_service.ledger import Position, stream_checkpoints
from atp_service.ledger.position import read_position
from atp_service.ledger.rebuilds import session
from atp_service.ledger.stream_checkpoints import Checkpoint, pending_replay
from atp_service.store.epoch_guard import RedisHeader
from atp_service.store.raw_partition import Site
from atp_service.workers.rebuild.stream.recovery import checkpoint_of, may_have_lost, recover
from atp_service.workers.rebuild.stream.replay import acknowledged
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()


class StreamFollower:
    """Makes a checkpoint with one call, and saves it with a later one: the ledger must have its
    entry by then."""

    def __init__(self, tools: Tools, facts: Facts, site: Site) -> None:
        self._tools = tools
        self._facts = facts
        self._site = site
        self._header: RedisHeader | None = None  # of the last look at Redis
        self._checkpoint: Checkpoint | None = None

    async def advance(self) -> None:
        """Replay the stream if that is due, else see how far it is acknowledged; nothing while NATS
        is away. Raises NatsUnavailable, Fenced, and Unavailable of store or ledger."""
        tools, client = self._tools, self._tools.connected_nats
        if client is None:
            return
        # First of all, since this look at Redis may make a replay due.
        checkpoint = await self._acknowledged(client)
        async with tools.ledger.connection() as connection:
            pending = await pending_replay(connection, tools.partition)
        if pending is None:
            self._checkpoint = self._checkpoint or checkpoint
        elif self._checkpoint is None or self._checkpoint.replay != pending:
            async with session(tools.database_url) as connection:
                _, self._checkpoint = await recover(
                    tools, client, self._facts, connection, self._site, pending
                )

    async def save(self) -> None:
        """Save the checkpoint once its entry is recorded; drop it if the ledger has passed it
        without that entry. Raises Unavailable of the ledger."""
        tools, checkpoint = self._tools, self._checkpoint
        if checkpoint is None:
            return
        async with tools.ledger.connection() as connection:
            position = await read_position(connection, tools.partition)
            saved = await stream_checkpoints.save(connection, tools.partition, checkpoint)
        passed = (
            position is None
            or position.epoch != checkpoint.epoch
            or position.seq >= checkpoint.entry_seq
        )
        if saved or passed:
            self._checkpoint = None

    async def _acknowledged(self, client: Client) -> Checkpoint | None:
        """How far the stream is acknowledged, beside a Redis that has it; None if that is unknown
        now. A loss that this look makes one suspect is in the ledger when it returns."""
        tools, partition = self._tools, self._tools.partition
        place = await acknowledged(client, tools.stream, tools.consumer)
        if place is None:
            return None
        header, position = await self._site.compare(lambda: tools.ledger.position(partition))
        if position is None:
            return None
        await self._check_for_loss(position, header)
        return checkpoint_of(tools.stream, place, header)

    async def _check_for_loss(self, position: Position, header: RedisHeader) -> None:
        """Compare this look at Redis with the last, and with the run that the ledger knows: the
        process that opened it first may have seen no other."""
        ledger, before = self._tools.ledger, self._header
        if header.run_id != position.run_id:
            await ledger.open(self._tools.partition, position.epoch, header.run_id)
        # Another epoch has been rebuilt: a replay of its own follows.
        elif before and before.epoch == header.epoch and may_have_lost(before, header):
            log.warning("loss_suspected", seq_before=before.seq, seq=header.seq)
            await ledger.suspect_loss(self._tools.partition)
        # Only now: if the ledger is away, the next look must find the same.
        self._header = header
