"""Where an event becomes commands, whether it came by HTTP, by NATS or from a file."""

from atp_service.facts.delivery import arrival_of, delivery_of
from atp_service.facts.facts import Arrival, EventResult, Facts, Status

__all__ = ["Arrival", "EventResult", "Facts", "Status", "arrival_of", "delivery_of"]
