"""A delivery of a message by JetStream: the message's place on the stream, and its time.

A message's reply subject says so:
$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<seq>.<seq>.<time>.<pending>[.<any>]
"""

from msgspec import Struct


class Delivery(Struct, frozen=True):
    """`seq` is its place on the stream, `consumer_seq` the number of the delivery. `time` is in ns.
    `pending` counts the messages that the consumer has after it.
    """

    stream: str
    deliveries: int
    seq: int
    consumer_seq: int
    time: str
    pending: int


def delivery_of(reply: str) -> Delivery:
    tokens = reply.split(".")
    fields = tokens[2:] if len(tokens) == 9 else tokens[4:]
    stream, _, deliveries, seq, consumer_seq, time, pending = fields[:7]
    return Delivery(stream, int(deliveries), int(seq), int(consumer_seq), time, int(pending))
