"""A message of JetStream as an arrival."""

from collections.abc import Mapping

from atp_service.facts.apply import Arrival
from atp_service.identifiers import traceparent_of
from atp_service.jetstream.delivery import Delivery


def arrival_of(
    payload: bytes, subject: str, delivery: Delivery, headers: Mapping[str, str] | None
) -> Arrival:
    """The message as it arrived: known by its place on the stream, whoever fetches it."""
    place = f"{delivery.stream}/{delivery.seq}/{delivery.time}"
    return Arrival(payload, subject, place, _trace_in(headers) if headers else None)


def _trace_in(headers: Mapping[str, str]) -> str | None:
    """Clients write the name of a header as they like."""
    told = (value for name, value in headers.items() if name.lower() == "traceparent")
    return traceparent_of(next(told, None))
