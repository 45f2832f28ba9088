"""Stock events from JetStream, by the group: fetched, applied, acknowledged."""

from atp_service.ingest.loop import run
from atp_service.ingest.stream import CONSUMER, STREAM, ensure_stream

__all__ = ["CONSUMER", "STREAM", "ensure_stream", "run"]
