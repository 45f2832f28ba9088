"""The stream that events arrive on, and the consumer that all workers share.

Nothing is discarded silently: a full stream refuses new messages, which their publisher notices,
and no message is deleted by age. The ingest worker makes room (`workers/ingest/retention.py`).
"""

from typing import Final

import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

log = structlog.get_logger()

STREAM: Final = "ATP_EVENTS"
SUBJECTS: Final = ["atp.events.>", "atp.raw.>"]
CONSUMER: Final = "ingest"
MOST_BYTES: Final = 4 * 1024**3
ACK_WAIT_SECONDS: Final = 15.0  # what a dead worker had fetched comes again after that long
DEDUPE_SECONDS: Final = 20.0  # spares work after a publisher's retry; nothing rests on it


async def ensure_stream(jetstream: JetStreamContext) -> None:
    """Make the stream if there is none; one that somebody has set up differently stays so."""
    try:
        await jetstream.stream_info(STREAM)
    except NotFoundError:
        await jetstream.add_stream(
            StreamConfig(
                name=STREAM,
                subjects=SUBJECTS,
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                max_bytes=MOST_BYTES,
                duplicate_window=DEDUPE_SECONDS,
            )
        )
        log.info("stream_created", stream=STREAM)


async def acknowledged_through(jetstream: JetStreamContext, stream: str, consumer: str) -> int:
    """The sequence up to which the consumer's workers have acknowledged every message.

    A deleted message counts once a later one is acknowledged. Raises NotFoundError.
    """
    floor = (await jetstream.consumer_info(stream, consumer)).ack_floor
    return floor.stream_seq if floor is not None else 0


async def is_next(jetstream: JetStreamContext, stream: str, consumer: str, seq: int) -> bool:
    """Whether every message of the stream before `seq` is acknowledged. Raises NotFoundError."""
    floor = await acknowledged_through(jetstream, stream, consumer)
    if floor >= seq - 1:
        return True
    unacknowledged = await jetstream.get_msg(stream, floor + 1, subject=">", next=True)
    return (unacknowledged.seq or 0) >= seq


async def ensure_consumer(jetstream: JetStreamContext) -> None:
    """Make the durable consumer if there is none."""
    try:
        await jetstream.consumer_info(STREAM, CONSUMER)
    except NotFoundError:
        await jetstream.add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name=CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                deliver_policy=DeliverPolicy.ALL,
                max_deliver=-1,
                # Workers take only what they ask for; those that wait must not hold up the rest.
                max_ack_pending=-1,
            ),
        )
