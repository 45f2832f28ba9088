"""What JetStream tells of a message with its delivery: where it stands on the stream, and when.

A message's reply subject says so:
$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<seq>.<seq>.<time>.<pending>[.<any>]
"""

from collections.abc import Mapping

from msgspec import Struct

from atp_service.catalog.words import traceparent_of
from atp_service.facts.facts import Arrival


class Delivery(Struct, frozen=True):
    """`time` is in ns; `pending` are the messages that come after it."""

    stream: str
    deliveries: int
    seq: int
    time: str
    pending: int


def delivery_of(reply: str) -> Delivery:
    tokens = reply.split(".")
    told = tokens[2:] if len(tokens) == 9 else tokens[4:]
    return Delivery(told[0], int(told[2]), int(told[3]), told[5], int(told[6]))


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
