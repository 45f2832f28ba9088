"""The tills of six stores: sales, some returns, and heartbeats."""

from random import Random

from atp_service.demo.assortment import ARTICLES
from atp_service.demo.feeds import Feeds
from atp_service.demo.pauses import Pauses
from atp_service.demo.places import FEEDS, STORES, stores_of

_SHELVES = {store: [a for a in ARTICLES if store in stores_of(a)] for store in STORES}
_PACES = {store: [article.pace for article in shelf] for store, shelf in _SHELVES.items()}


async def tills(feeds: Feeds, random: Random, pauses: Pauses) -> None:
    """Sell about one basket a second over all stores, until the shop closes."""
    while await pauses.about(1.0, random):
        store = random.choice(STORES)
        basket = random.choices(_SHELVES[store], _PACES[store], k=random.choice((1, 1, 2, 3)))
        for article in basket:
            data = {"sku": article.sku, "location": store, "quantity": random.choice((1, 1, 1, 2))}
            if random.random() < 0.03:
                disposition = random.choice(("restock", "restock", "damaged"))
                await feeds.publish(f"pos/{store}", "return", {**data, "disposition": disposition})
            else:
                await feeds.publish(f"pos/{store}", "sale", data)


async def heartbeats(feeds: Feeds, pauses: Pauses) -> None:
    """Publish every feed's heartbeat: a till without sales is not dead."""
    while True:
        for feed in FEEDS:
            await feeds.publish(feed, "heartbeat")
        if not await pauses.exactly(20.0):
            return
