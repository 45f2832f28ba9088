"""The retailer's systems: canonical events onto NATS, each retried until the stream has it."""

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from atp_service.demo.retry import retried

AWAY = (NatsError, TimeoutError, OSError)


class Feeds:
    """Every feed of the retailer. `run` makes the ids of this start differ from any other's."""

    def __init__(self, nats: Client, run: str, clock: Callable[[], datetime]) -> None:
        self._jetstream = nats.jetstream()
        self._run = run
        self._clock = clock
        self._numbers = itertools.count(1)

    def now(self) -> datetime:
        return self._clock()

    async def publish(
        self,
        feed: str,
        happened: str,
        data: Mapping[str, object] | None = None,
        *,
        event_id: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Publish an event of a kind (`sale`, `receipt`, …); it happened `at`, or now."""
        event_id = event_id or f"{self._run}-{next(self._numbers)}"
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": feed,
            "type": f"atp.stock.{happened}.v1",
            "time": written(at or self.now()),
            "data": data or {},
        }
        payload = msgspec.json.encode(event)
        kind, _, rest = feed.partition("/")
        subject = f"atp.events.{kind}.{rest or kind}"
        headers = {"Nats-Msg-Id": f"{feed}:{event_id}"}
        # Every attempt carries the same ids: whichever of them arrives counts once.
        await retried(lambda: self._jetstream.publish(subject, payload, headers=headers), on=AWAY)


def written(moment: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
