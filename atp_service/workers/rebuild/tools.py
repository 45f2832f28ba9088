"""The connections and settings that a partition's rebuilds work with."""

from collections.abc import Callable

from msgspec import Struct
from nats.aio.client import Client

from atp_service.facts import Facts
from atp_service.ledger import Ledger
from atp_service.store import Store


class Tools(Struct, frozen=True):
    """`partition` is one of `partitions`; `nats` is None if no events come by NATS, else `consumer`
    takes them in from `stream`."""

    redis_url: str
    database_url: str
    ledger: Ledger
    facts_on: Callable[[Store], Facts]
    nats: Client | None
    stream: str
    consumer: str
    window_ms: int
    partition: int
    partitions: int

    @property
    def connected_nats(self) -> Client | None:
        """The client; None while NATS is away."""
        return self.nats if self.nats is not None and self.nats.is_connected else None
