"""A Redis that another release has written is left as it is: a rebuild would destroy its stock."""

from typing import Any

import pytest
from redis.asyncio import Redis

from atp_service.workers import rebuild
from tests.retailer import Retailer, event
from tests.workers.rebuild.rebuild_setup import KEYS, contents, looked_after, tools


@pytest.mark.parametrize("by_hand", [False, True])
async def test_it_is_rebuilt_neither_by_the_worker_nor_by_hand(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, by_hand: bool
) -> None:
    client: Any = redis
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=100))
        await shop.recorded()
    await client.hset(KEYS.meta, "format", "2")
    before = await contents(redis)
    with pytest.raises(rebuild.NotToBeRebuilt, match="in format 2"):
        await rebuild.rebuild(mending, by_hand=by_hand)
    assert await contents(redis) == before
    assert await client.hget(KEYS.meta, "epoch") == b"1"
