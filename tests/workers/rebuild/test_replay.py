"""Events given again: all of them, or it counts as not done."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from atp_service.facts import Arrival, EventResult
from atp_service.inventory.commands import decode_command
from atp_service.jetstream.pull import AHEAD, GROUP
from atp_service.jetstream.stream import STREAM
from atp_service.workers.rebuild.stream.replay import NatsUnavailable, replay
from tests.retailer import Retailer, event, until
from tests.workers.ingest.conftest import Stream, stream

__all__ = ["stream"]


class Disturbed:
    """Takes events as facts do, and does something to NATS when the first have come."""

    def __init__(self, shop: Retailer, disturb: Any) -> None:
        self._shop = shop
        self._disturb = disturb

    async def apply_each(self, arrivals: Sequence[Arrival]) -> list[list[EventResult]]:
        if self._disturb is not None:
            disturb, self._disturb = self._disturb, None
            await disturb()
        return await self._shop.facts.apply_each(arrivals)


async def test_a_replay_that_nats_breaks_off_is_not_taken_for_done(
    shop: Retailer, stream: Stream
) -> None:
    await stream.publish(event("receipt", quantity=5_000))
    await stream.publish(*[event("sale", quantity=1) for _ in range(2_600)])
    jetstream = stream.client.jetstream()

    async def lose_the_consumer() -> None:
        async def the_first_are_sent() -> bool:
            (consumer,) = await jetstream.consumers_info(STREAM)
            return 2_601 - AHEAD - GROUP <= (consumer.num_pending or 0) <= 2_601 - AHEAD

        # The rest has not been asked for by then.
        await until(the_first_are_sent)
        (consumer,) = await jetstream.consumers_info(STREAM)
        await jetstream.delete_consumer(STREAM, consumer.name)

    facts: Any = Disturbed(shop, lose_the_consumer)
    with pytest.raises(NatsUnavailable, match="consumer"):
        await replay(stream.client, facts, STREAM, 0, after=0, through=2_601)
    assert await shop.on_hand() > 5_000 - 2_600
    done = await replay(stream.client, shop.facts, STREAM, 0, after=0, through=2_601)
    assert done.events == 2_601
    assert await shop.on_hand() == 5_000 - 2_600


async def test_an_event_that_is_given_again_keeps_the_trace_of_its_headers(
    shop: Retailer, stream: Stream
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = msgspec.json.encode(event("receipt", quantity=5))
    await stream.client.jetstream().publish(
        "atp.events.wms.dc-1", told, headers={"traceparent": trace}
    )
    await replay(stream.client, shop.facts, STREAM, 0, after=0, through=1)
    (entry,) = await shop.store.partition_of("SKU-1").journal.entries(0, 10)
    assert decode_command(entry.command).traceparent == trace


async def test_a_replay_is_done_though_the_stream_no_longer_keeps_its_last_event(
    shop: Retailer, stream: Stream
) -> None:
    await stream.publish(event("receipt", quantity=5), event("sale", quantity=1))
    await stream.client.jetstream().delete_msg(STREAM, 2)
    done = await replay(stream.client, shop.facts, STREAM, 0, after=0, through=2)
    assert done.events == 1
    assert await shop.on_hand() == 5
