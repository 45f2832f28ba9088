"""What JetStream tells of a message with its delivery: where it stands on the stream, and when.

A message's reply subject says so:
$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<seq>.<seq>.<time>.<pending>[.<any>]
"""

from msgspec import Struct


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
