"""The retailer's feeds: canonical events onto NATS, each sent until the stream has it."""

import itertools
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from atp_service.demo.service import retried

AWAY = (NatsError, TimeoutError, OSError)


class Feeds:
    """Every feed of the retailer. `run` is part of the event ids: each start has its own."""

    def __init__(self, nats: Client, run: str, clock: Callable[[], datetime]) -> None:
        self._jetstream = nats.jetstream()
        self._run = run
        self._clock = clock
        self._numbers = itertools.count(1)

    def now(self) -> datetime:
        """The time of the retailer's clock."""
        return self._clock()

    async def publish(
        self,
        feed: str,
        event_type: str,
        data: Mapping[str, object] | None = None,
        *,
        event_id: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Publish an event of a type (`sale`, `receipt`, …), by default of now."""
        event_id = event_id or f"{self._run}-{next(self._numbers)}"
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": feed,
            "type": f"atp.stock.{event_type}.v1",
            "time": at or self.now(),
            "data": data or {},
        }
        payload = msgspec.json.encode(event)
        kind, _, rest = feed.partition("/")
        subject = f"atp.events.{kind}.{rest or kind}"
        headers = {"Nats-Msg-Id": f"{feed}:{event_id}"}
        # Every attempt carries the same ids: whichever of them arrives counts once.
        await retried(lambda: self._jetstream.publish(subject, payload, headers=headers), on=AWAY)
