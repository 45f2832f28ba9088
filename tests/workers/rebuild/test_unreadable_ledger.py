"""A ledger that somebody has made unreadable takes no sound Redis away, and no worker along."""

import psycopg
import pytest
from redis.asyncio import Redis

from atp_service.inventory.outcomes import Held
from atp_service.store import Fenced, Unavailable
from atp_service.workers import rebuild
from tests.retailer import Retailer, event, until
from tests.workers.rebuild.rebuild_setup import hold, looked_after, order, tools

DAMAGE = {
    "level SKU-1 at DC-1": "UPDATE levels SET document = %s",
    "reservation cart": "UPDATE reservations SET document = %s WHERE reservation_id = 'cart'",
    "order order-of-bought": "UPDATE orders SET document = %s",
}


async def traded(shop: Retailer) -> None:
    await shop.tell(event("receipt", quantity=10))
    await shop.store.apply_all([hold("cart", 3), *order("bought", 2)])
    await shop.recorded()


def damage(ledger_url: str, statement: str, image: bytes = b"\xc1") -> None:
    with psycopg.connect(ledger_url) as connection:
        connection.execute(statement.encode(), (image,))


@pytest.mark.parametrize("what", DAMAGE)
async def test_asked_for_by_hand_nothing_is_fenced_for_a_ledger_that_cannot_be_read(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str, what: str
) -> None:
    async with shop.recording(ledger_url):
        await traded(shop)
    damage(ledger_url, DAMAGE[what])
    with pytest.raises(rebuild.Unreadable, match=what):
        await rebuild.rebuild(tools(shop, redis_url, ledger_url), by_hand=True)
    assert isinstance(await shop.store.apply(hold("next", 1)), Held)
    assert shop.store.partition_of("SKU-1").epoch == 1


async def test_a_lost_redis_waits_for_a_ledger_that_cannot_be_read_to_be_mended(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    statement = DAMAGE["reservation cart"]
    async with looked_after(tools(shop, redis_url, ledger_url), shop):
        await traded(shop)
        with psycopg.connect(ledger_url) as connection:
            ((image,),) = connection.execute(
                "SELECT document FROM reservations WHERE reservation_id = 'cart'"
            ).fetchall()
        damage(ledger_url, statement)
        await redis.flushall()

        async def tried() -> bool:
            with psycopg.connect(ledger_url) as connection:
                return connection.execute("SELECT FROM rebuilds").rowcount > 1

        await until(tried, 30.0)
        damage(ledger_url, statement, image)

        async def open_again() -> bool:
            try:
                await shop.store.levels([("SKU-1", "DC-1")])
            except (Fenced, Unavailable):
                return False
            return True

        await until(open_again, 30.0)
        kept = await shop.store.reservation("cart")
        assert kept is not None
        assert kept.status == "held"
