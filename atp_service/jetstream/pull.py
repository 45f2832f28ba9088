"""Messages of a pull consumer, by the group: the next is on its way while the caller works on one.

nats-py's own `fetch` makes a task and a timer for every message, and asks for the next only when
called. That costs more than all the rest of an event's way. This asks ahead, and a message costs
one call.
"""

import json
import time
from asyncio import Event, timeout
from types import TracebackType
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

GROUP: Final = 500
AHEAD: Final = 2 * GROUP
AHEAD_BYTES: Final = 16 * 1024**2
REQUEST_SECONDS: Final = 10.0
OVERDUE_SECONDS: Final = 2.0
NO_RESPONDERS: Final = "503"
CONFLICT: Final = "409"


class Gone(Exception):
    """Stream or consumer are no longer there."""


class Pull:
    """Asks, takes and acknowledges. Use it as a context; raises the errors of nats."""

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = nats.new_inbox()
        self._here: list[Msg] = []
        self._something = Event()
        # Requests still open, oldest first: how many messages each may yet bring, and until when.
        self._open: dict[str, list[float]] = {}
        self._requests = 0
        self._reconnects = 0
        self._gone = ""
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> "Pull":
        self._reconnects = self._nats.stats["reconnects"]
        self._subscription = await self._nats.subscribe(f"{self._inbox}.*", cb=self._take)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Messages that no caller has taken go back, for other workers."""
        if self._subscription is None or not self._nats.is_connected:
            return
        await self._subscription.unsubscribe()
        for message in self._here:
            await self.put_back(message, 0.0)
        self._here.clear()
        await self._nats.flush()

    async def group(self, wait_seconds: float) -> list[Msg]:
        """Messages that have arrived, at most `GROUP`; none if the first takes longer than
        `wait_seconds`. Raises Gone."""
        await self._ask()
        if not self._here:
            self._something.clear()
            try:
                async with timeout(wait_seconds):
                    await self._something.wait()
            except TimeoutError:
                pass
        if self._gone:
            raise Gone(self._gone)
        group = self._here[:GROUP]
        del self._here[:GROUP]
        await self._ask()
        return group

    async def acknowledge(self, message: Msg) -> None:
        """Done with it. Acknowledgements leave together, in one write."""
        await self._nats.publish(message.reply)

    async def put_back(self, message: Msg, delay_seconds: float) -> None:
        """Not done with it: after the delay JetStream delivers it anew, to any worker."""
        delay = json.dumps({"delay": int(delay_seconds * 1e9)}) if delay_seconds else ""
        await self._nats.publish(message.reply, f"-NAK {delay}".strip().encode())

    async def _ask(self) -> None:
        now = time.monotonic()
        if self._nats.stats["reconnects"] != self._reconnects:
            self._reconnects = self._nats.stats["reconnects"]
            self._open.clear()  # the server that knew of them may not
        for inbox, (_, until) in list(self._open.items()):
            if now > until:
                del self._open[inbox]
        promised = int(sum(messages for messages, _ in self._open.values()))
        room = AHEAD - promised - len(self._here)
        if room < GROUP:
            return
        self._requests += 1
        inbox = f"{self._inbox}.{self._requests}"
        request = {
            "batch": room,
            "max_bytes": max(AHEAD_BYTES, 2 * self._nats.max_payload),
            "expires": int(REQUEST_SECONDS * 1e9),
        }
        self._open[inbox] = [room, now + REQUEST_SECONDS + OVERDUE_SECONDS]
        await self._nats.publish(self._subject, json.dumps(request).encode(), inbox)

    async def _take(self, message: Msg) -> None:
        # The server's own messages come on the inbox. A message of the stream keeps its subject,
        # and its headers may have any content.
        if message.subject.startswith(self._inbox):
            self._note_status(message)
            return
        self._here.append(message)
        self._something.set()
        for inbox, request in self._open.items():
            request[0] -= 1
            if request[0] == 0:
                del self._open[inbox]
            break

    def _note_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status, words = headers.get("Status", ""), headers.get("Description", "")
        self._open.pop(message.subject, None)
        if status == NO_RESPONDERS or (status == CONFLICT and "deleted" in words.lower()):
            self._gone = words if status == CONFLICT else "there is no such consumer"
            self._something.set()
