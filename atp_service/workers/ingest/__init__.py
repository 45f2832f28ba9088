"""Stock events from JetStream, by the group: fetched, applied, acknowledged."""

from atp_service.workers.ingest.loop import run

__all__ = ["run"]
