"""Room on the stream of events: messages that are applied and recorded may go.

The oldest are deleted first, and only if the ledger has their effects: until then a rebuild of a
lost Redis would need them. The newer half of the stream always stays, for operators who look back.
"""

import structlog
from nats.js import JetStreamContext

from atp_service.jetstream.stream import CONSUMER, STREAM, acknowledged_through
from atp_service.ledger import Ledger
from atp_service.postgres import Unavailable

log = structlog.get_logger()


async def make_room(jetstream: JetStreamContext, ledger: Ledger) -> None:
    """Delete applied and recorded messages of a stream that is half full, at most half of them.

    None is deleted while the ledger is away. Raises the errors of nats.
    """
    info = await jetstream.stream_info(STREAM)
    most = info.config.max_bytes or 0
    if most <= 0 or info.state.bytes * 2 < most:
        return
    applied = await acknowledged_through(jetstream, STREAM, CONSUMER)
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
