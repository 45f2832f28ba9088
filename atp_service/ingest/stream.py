"""The stream that events arrive on, and the consumer that all workers share.

Nothing is discarded silently: a full stream refuses what is new, which its publisher notices, and
nothing goes by age. Room is made from the end that is applied and known to be in the ledger: until
then a Redis that is lost would need it once more. Half of the stream is kept all the same, for
whoever has to look back.
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

from atp_service.ledger import Ledger, Unavailable

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


async def make_room(jetstream: JetStreamContext, ledger: Ledger) -> None:
    """When the stream is half full, let go of what is applied and recorded, down to half of its
    messages. Of nothing while the ledger can't say what that is."""
    info = await jetstream.stream_info(STREAM)
    most = info.config.max_bytes or 0
    if most <= 0 or info.state.bytes * 2 < most:
        return
    consumer = await jetstream.consumer_info(STREAM, CONSUMER)
    applied = consumer.ack_floor.stream_seq if consumer.ack_floor is not None else 0
    try:
        recorded = await ledger.recorded_through(STREAM, info.created) if info.created else 0
    except Unavailable as away:
        log.warning("stream_not_trimmed", stream=STREAM, reason=str(away))
        return
    done_with = min(applied, recorded)
    keep_from = min(done_with + 1, (info.state.first_seq + info.state.last_seq) // 2)
    if keep_from > info.state.first_seq:
        await jetstream.purge_stream(STREAM, seq=keep_from)
        log.info("stream_trimmed", stream=STREAM, first_seq=keep_from)
    else:
        log.warning("stream_not_trimmed", stream=STREAM, applied=applied, recorded=recorded)
