"""A message as it arrived, by HTTP or from JetStream."""

from collections.abc import Mapping

from msgspec import Struct

from atp_service.identifiers import traceparent_of
from atp_service.jetstream.delivery import Delivery


class Arrival(Struct, frozen=True, gc=False):
    """A message as it arrived.

    `subject` is None by HTTP. `arrival_id` is the same each time the message is delivered.
    `traceparent` came beside the message; one inside it wins. `in_order`: all messages before it on
    its stream are applied. By HTTP the order is the caller's, since it waits for the answer.
    """

    payload: bytes
    subject: str | None
    arrival_id: str
    traceparent: str | None = None
    in_order: bool = True


def arrival_of(
    payload: bytes,
    subject: str,
    delivery: Delivery,
    headers: Mapping[str, str] | None,
    *,
    in_order: bool,
) -> Arrival:
    """A message of JetStream, known by its place on the stream, whichever worker fetches it."""
    arrival_id = f"{delivery.stream}/{delivery.seq}/{delivery.time}"
    trace = _trace_in(headers) if headers else None
    return Arrival(payload, subject, arrival_id, trace, in_order)


def _trace_in(headers: Mapping[str, str]) -> str | None:
    """Clients write the name of a header as they like."""
    values = (value for name, value in headers.items() if name.lower() == "traceparent")
    return traceparent_of(next(values, None))
