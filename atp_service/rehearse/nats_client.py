"""Facts onto NATS, as feeds tell them: each is published until the stream has it."""

from nats.aio.client import Client
from nats.errors import Error as NatsError

from atp_service.rehearse.http_client import Answer, Unanswered
from atp_service.rehearse.retrying_client import Attempts, RetryingClient

TAKEN = Answer(200, b"", 0.0)


class Bus:
    """One connection. What becomes of a fact is not answered here: the ledger will say."""

    def __init__(self, client: Client, patient: RetryingClient) -> None:
        self._jetstream = client.jetstream()
        self._client = client
        self._patient = patient

    @classmethod
    async def connect(cls, url: str, patient: RetryingClient) -> "Bus":
        client = Client()
        await client.connect(url, name="atp rehearse", max_reconnect_attempts=-1, error_cb=_passed)
        return cls(client, patient)

    async def publish(self, subject: str, message_id: str, payload: bytes, due: float) -> Attempts:
        async def attempt(attempts: Attempts) -> Answer:
            attempts.sent = attempts.sent or self._patient.now()
            try:
                await self._jetstream.publish(
                    subject,
                    payload,
                    timeout=self._patient.patience_seconds,
                    headers={"Nats-Msg-Id": message_id},
                )
            except (NatsError, TimeoutError, OSError) as fault:
                raise Unanswered(f"NATS {type(fault).__name__}") from fault
            return TAKEN

        return await self._patient.until_answered(attempt, due)

    async def close(self) -> None:
        await self._client.close()


async def _passed(_fault: Exception) -> None:
    """Whoever was publishing is told, and tries again."""
