"""The publisher of events onto JetStream: many are under way, each until it is acknowledged.

nats-py's own `publish_async` costs a future and a token an event, 29 µs of CPU against 12, and
its futures wait for ever if the connection is lost. Here an event that isn't acknowledged in time
is resent. Its `Nats-Msg-Id`, and behind that its own id, make that harmless.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import OutboundBufferLimitError

UNDER_WAY = 2_000  # a few ms of the server's work; enough that it never waits for the next
PATIENCE_SECONDS = 5.0


class _Refusal(Struct):
    description: str = "refused"


class _Ack(Struct):
    """JetStream's reply to a publish."""

    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Publisher:
    """Publishes to one subject. `tell` gets a line with the reason when nothing moves.

    `duplicates` counts the events that JetStream recognized; `last_seq` is the highest place on
    the stream of an event of ours.
    """

    def __init__(self, nats: Client, subject: str, tell: Callable[[str], None]) -> None:
        self._nats = nats
        self._subject = subject
        self._tell = tell
        self._inbox = nats.new_inbox()
        self._under_way: dict[int, tuple[str, bytes]] = {}
        self._wanted = 0
        self._reached = asyncio.Event()
        self._refusal = ""
        self.published = 0
        self.acknowledged = 0
        self.duplicates = 0
        self.last_seq = 0

    async def __aenter__(self) -> "Publisher":
        self._replies = await self._nats.subscribe(f"{self._inbox}.*", cb=self._acknowledge)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._nats.is_closed:
            await self._replies.unsubscribe()

    async def publish(self, message_id: str, payload: bytes) -> None:
        """Send one event; wait while too many are under way."""
        number = self.published
        self.published += 1
        self._under_way[number] = (message_id, payload)
        await self._send(number, message_id, payload)
        if len(self._under_way) >= UNDER_WAY:
            await self._until_at_most(UNDER_WAY // 2)

    async def settle(self) -> None:
        """Return when every event is in the stream."""
        await self._until_at_most(0)

    async def _send(self, number: int, message_id: str, payload: bytes) -> None:
        try:
            await self._nats.publish(
                self._subject,
                payload,
                reply=f"{self._inbox}.{number}",
                headers={"Nats-Msg-Id": message_id},
            )
        except OutboundBufferLimitError:
            # The client reconnects and its buffer is full: the event stays under way.
            self._refusal = "NATS is away"

    async def _until_at_most(self, count: int) -> None:
        while len(self._under_way) > count:
            before = self.acknowledged
            self._wanted = count
            self._reached.clear()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._reached.wait()
            except TimeoutError:
                if self.acknowledged == before:
                    self._tell(f"{self._refusal or 'NATS is silent'}: retrying")
                    await self._resend()

    async def _resend(self) -> None:
        self._refusal = ""
        for number, (message_id, payload) in list(self._under_way.items()):
            await self._send(number, message_id, payload)

    async def _acknowledge(self, message: Msg) -> None:
        if not message.data:  # no stream listens on the subject
            self._refusal = f"no stream takes {self._subject}"
            return
        ack = _decode_ack(message.data)
        if ack.error is not None:
            self._refusal = f"NATS refuses, {ack.error.description}"
            return
        number = int(message.subject.rpartition(".")[2])
        if self._under_way.pop(number, None) is None:
            return  # the second reply to an event that was sent twice
        self.acknowledged += 1
        self.duplicates += ack.duplicate
        self.last_seq = max(self.last_seq, ack.seq)
        if len(self._under_way) <= self._wanted:
            self._reached.set()
