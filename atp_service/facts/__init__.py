"""An event becomes commands, whether it came by HTTP, by NATS or from a file."""

from atp_service.facts.apply import Facts
from atp_service.facts.arrival import Arrival, arrival_of
from atp_service.facts.snapshot_end import LINES_WAITING
from atp_service.facts.work import EventResult, Status

__all__ = ["LINES_WAITING", "Arrival", "EventResult", "Facts", "Status", "arrival_of"]
