"""The first day: master data over HTTP, then the opening stock."""

from datetime import UTC, datetime

from atp_service.demo.assortment import ARTICLES, BEST_SELLER
from atp_service.demo.chance import chance
from atp_service.demo.feeds import Feeds
from atp_service.demo.places import (
    CHANNELS,
    FEEDS,
    LOCATIONS,
    feed_of,
    source_of,
    stores_of,
    usual_stock,
)
from atp_service.demo.service import Service

# Long ago on purpose: the ledger recognizes events older than the dedupe window, so opening stock
# that is repeated at the next start counts once, however much later that is.
OPENING = datetime(2026, 1, 2, 6, 0, tzinfo=UTC)


async def describe(service: Service) -> None:
    """Create the master data, unless the last SKU is there already."""
    last = await service.call("GET", f"/v1/skus/{ARTICLES[-1].sku}")
    if last.status_code == 200:
        return
    for kind, documents in (("locations", LOCATIONS), ("channels", CHANNELS), ("feeds", FEEDS)):
        for key, document in documents.items():
            await _put(service, f"/v1/{kind}/{key.replace('/', '%2F')}", document)
    for article in ARTICLES:
        await _put(service, f"/v1/skus/{article.sku}", {"name": article.name, "units": {"CASE": 6}})
        if article.pace > BEST_SELLER:
            # A few units stay for the counter on every channel.
            for store in stores_of(article):
                path = f"/v1/skus/{article.sku}/locations/{store}"
                await _put(service, path, {"safety_stock": 2})


async def stock(feeds: Feeds) -> None:
    """Publish the opening stock. Its event ids are always the same, so it counts once."""
    random = chance("opening stock")
    for article in ARTICLES:
        for location in (source_of(article), *stores_of(article)):
            usual = usual_stock(article, location)
            # Some levels start low: buyers and warehouse have work from the first minute.
            units = random.randint(usual // 3, 2 * usual)
            data = {"sku": article.sku, "location": location, "quantity": units}
            event_id = f"opening-{article.sku}-{location}"
            opening = data | {"document": "OPENING"}
            await feeds.publish(
                feed_of(location), "receipt", opening, event_id=event_id, at=OPENING
            )


async def _put(service: Service, path: str, document: object) -> None:
    answer = await service.call("PUT", path, document)
    answer.raise_for_status()
