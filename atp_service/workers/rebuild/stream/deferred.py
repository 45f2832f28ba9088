"""The stream while Redis is open: replayed where NATS was away at the rebuild, or where Redis may
have lost what nobody can see; else followed."""

from atp_service.facts import Facts
from atp_service.ledger.position import read_position
from atp_service.ledger.rebuilds import session
from atp_service.ledger.stream_checkpoints import Due, to_replay_for
from atp_service.store.raw_partition import Site
from atp_service.workers.rebuild.rebuilder import Tools
from atp_service.workers.rebuild.stream.recovery import Events, Reached
from atp_service.workers.rebuild.stream.suspected_loss import Doubts


class Late:
    """What is seen is noted later, when the ledger has it too."""

    def __init__(self, tools: Tools, facts: Facts, site: Site) -> None:
        self._tools = tools
        self._facts = facts
        self._site = site
        self._doubts = Doubts(tools.ledger, tools.partition)
        self._reached: Reached | None = None

    async def look(self) -> None:
        """See how far the stream is, or replay it. Raises Away; Unavailable of store or ledger, and
        Fenced."""
        events = self._events()
        if events is None:
            return
        tools = self._tools
        # What is acknowledged first: what that look at Redis finds odd makes a replay due.
        seen = await events.acknowledged(tools.ledger, self._site, self._doubts)
        async with tools.ledger.connection() as connection:
            due = await to_replay_for(connection, tools.partition)
        if due is None:
            self._reached = self._reached or seen
        elif self._reached is None or self._reached.due != due:
            self._reached = await self._replay(events, due)

    async def note(self) -> None:
        """What was seen, once it is recorded; forgotten where the ledger has gone on without it.
        Raises the ledger's Unavailable."""
        events, reached = self._events(), self._reached
        if events is None or reached is None:
            return
        tools = self._tools
        async with tools.ledger.connection() as connection:
            position = await read_position(connection, tools.partition)
            noted = await events.note(connection, reached)
        gone = (
            reached.mark is None
            or position is None
            or position.epoch != reached.redis_epoch
            or position.seq >= reached.mark.entry_seq
        )
        if noted or gone:
            self._reached = None

    def _events(self) -> Events | None:
        """None while NATS can't be asked."""
        tools = self._tools
        if tools.nats is None or not tools.nats.is_connected:
            return None
        return Events(tools.nats, tools.stream, tools.consumer, tools.partition)

    async def _replay(self, events: Events, due: Due) -> Reached:
        async with session(self._tools.database_url) as connection:
            return await events.replay(self._facts, connection, self._site, due)
