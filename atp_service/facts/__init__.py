"""Where an event becomes commands, whether it came by HTTP, by NATS or from a file."""

from atp_service.facts.apply import Arrival, EventResult, Facts, Status
from atp_service.facts.arrival import arrival_of

__all__ = ["Arrival", "EventResult", "Facts", "Status", "arrival_of"]
