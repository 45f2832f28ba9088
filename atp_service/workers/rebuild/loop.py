"""Compares Redis with the ledger twice a second, and rebuilds it when it lost writes."""

import asyncio
from typing import Final

import psycopg
import structlog

from atp_service import postgres, store
from atp_service.facts import Facts
from atp_service.ledger import Forked, Position, Refused, Stale
from atp_service.ledger.rebuilds import opened
from atp_service.metrics import HighestGauge
from atp_service.pause import pause
from atp_service.store import Fenced
from atp_service.store.raw_partition import Site, Superseded
from atp_service.workers.rebuild.diagnosis import NotToBeRebuilt, why
from atp_service.workers.rebuild.rebuilder import rebuild
from atp_service.workers.rebuild.restore import Unreadable
from atp_service.workers.rebuild.stream.follower import StreamFollower
from atp_service.workers.rebuild.stream.replay import NatsUnavailable
from atp_service.workers.rebuild.tools import Tools

log = structlog.get_logger()

LOOK_SECONDS: Final = 0.5
STREAM_SECONDS: Final = 5.0  # between checkpoints of the event stream, or its replays
_LONGEST_PAUSE_SECONDS: Final = 10.0

_behind = HighestGauge(
    "atp_ledger_behind",
    "1 while the ledger lacks what Redis has let go of: nothing is rebuilt, a person must decide",
)


async def run(tools: Tools, facts: Facts, *, stop: asyncio.Event) -> None:
    """Keep the partition's Redis in line with the ledger until stopped."""
    watcher = _Watcher(tools, facts)
    log.info("rebuild_started", partition=tools.partition)
    while not stop.is_set():
        await pause(stop, await watcher.look())
    await watcher.close()
    log.info("rebuild_stopped")


class _Watcher:
    def __init__(self, tools: Tools, facts: Facts) -> None:
        self._tools = tools
        self._site = Site(tools.redis_url, name="watch", partition=tools.partition)
        self._follower = StreamFollower(tools, facts, self._site)
        self._failures = 0
        self._logged = ""
        self._stream_at = 0.0

    async def look(self) -> float:
        """Do what is due; returns for how many seconds to rest."""
        try:
            await self._look()
        except NotToBeRebuilt as behind:
            _behind.set(self._tools.partition, 1)
            self._log("ledger_behind", str(behind))
            return LOOK_SECONDS
        except (postgres.Unavailable, store.Unavailable, Fenced, NatsUnavailable) as away:
            self._log("rebuild_waits", str(away))
            return LOOK_SECONDS
        except (Superseded, Stale) as other:
            log.warning("rebuild_taken_over", reason=str(other))
            return LOOK_SECONDS
        except (Refused, Forked, Unreadable, psycopg.Error) as fault:
            # The next try may fail too; but no person may be awake.
            self._failures += 1
            log.error("rebuild_failed", reason=str(fault))
            return min(LOOK_SECONDS * 2.0**self._failures, _LONGEST_PAUSE_SECONDS)
        self._failures, self._logged = 0, ""
        return LOOK_SECONDS

    async def _look(self) -> None:
        reason = await why(self._site, self._position)
        _behind.set(self._tools.partition, 0)
        if reason is not None:
            await rebuild(self._tools)
            return
        await self._follower.save()
        if self._is_stream_due():
            position = await self._position()
            if position is not None and await why(self._site, self._position) is None:
                async with self._tools.ledger.connection() as connection:
                    # A rebuild may have died between the opening and its row.
                    await opened(connection, self._tools.partition, position.epoch, {})
            await self._follower.advance()

    async def _position(self) -> Position | None:
        return await self._tools.ledger.position(self._tools.partition)

    def _is_stream_due(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._stream_at < STREAM_SECONDS:
            return False
        self._stream_at = now
        return True

    def _log(self, event: str, reason: str) -> None:
        """Once, while it goes on."""
        if self._logged != event:
            log.error(event, reason=reason)
        self._logged = event

    async def close(self) -> None:
        await self._site.close()
