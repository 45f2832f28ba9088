"""Buyers, warehouse and stockrooms: they order, send, receive, count and write off goods.

They go through the assortment and read the service's own levels. Those include expected documents,
so no state is kept between two starts.
"""

import itertools
from datetime import datetime, timedelta
from random import Random
from typing import Any

from atp_service.demo.assortment import ARTICLES, Article
from atp_service.demo.feeds import Feeds
from atp_service.demo.pauses import Pauses
from atp_service.demo.places import DC, feed_of, source_of, stores_of, usual_stock
from atp_service.demo.service import Service

AT_A_TIME = 10
WRITTEN_OFF_FROM = 3


class Replenishment:
    """Rounds through the assortment, a few articles at a time; a round takes about a minute."""

    def __init__(self, service: Service, feeds: Feeds, random: Random, run: str) -> None:
        self._service = service
        self._feeds = feeds
        self._random = random
        self._documents = (f"{run}-{number}" for number in itertools.count(1))

    async def rounds(self, pauses: Pauses) -> None:
        """Make rounds until the shop closes."""
        some = [ARTICLES[at : at + AT_A_TIME] for at in range(0, len(ARTICLES), AT_A_TIME)]
        for articles in itertools.cycle(some):
            if not await pauses.exactly(3.0):
                return
            items = await self._service.levels([article.sku for article in articles])
            for article, item in zip(articles, items, strict=True):
                await self._look_after(article, item["locations"])

    async def _look_after(self, article: Article, levels: list[dict[str, Any]]) -> None:
        at = {level["location"]: level for level in levels}
        for location, level in at.items():
            for document in level["incoming"]:
                await self._receive_if_due(article, location, document)
            damaged = level["unavailable"].get("damaged", 0)
            if damaged >= WRITTEN_OFF_FROM:
                await self._write_off(article, location, damaged)
        source = source_of(article)
        if source in at and self._is_low(article, source, at[source]):
            await self._order(article, source)
        for store in stores_of(article):
            if store in at and self._is_low(article, store, at[store]):
                await self._send(article, store, at[source]["atf"] if source in at else 0)
        if levels and self._random.random() < 0.02:
            await self._handle(article, self._random.choice(levels))

    def _is_low(self, article: Article, location: str, level: dict[str, Any]) -> bool:
        expected = sum(document["quantity"] for document in level["incoming"])
        return bool(level["atf"] + expected < usual_stock(article, location) / 2)

    async def _order(self, article: Article, location: str) -> None:
        order = {
            "sku": article.sku,
            "location": location,
            "quantity": 2 * usual_stock(article, location),
            "document": f"PO-{next(self._documents)}",
            "eta": self._in_a_while(),
        }
        await self._feeds.publish("erp", "incoming", order)

    async def _send(self, article: Article, store: str, there: int) -> None:
        quantity = min(usual_stock(article, store), there)
        if quantity > 0:
            transfer = {
                "sku": article.sku,
                "from": DC,
                "to": store,
                "quantity": quantity,
                "document": f"TR-{next(self._documents)}",
                "eta": self._in_a_while(),
            }
            await self._feeds.publish(feed_of(DC), "transfer_shipped", transfer)

    async def _receive_if_due(
        self, article: Article, location: str, document: dict[str, Any]
    ) -> None:
        if document["eta"] and datetime.fromisoformat(document["eta"]) > self._feeds.now():
            return
        is_transfer = document["document"].startswith("TR-")
        kind, there = ("transfer_received", "to") if is_transfer else ("receipt", "location")
        goods = {"sku": article.sku, there: location, "quantity": document["quantity"]}
        of = {"document": document["document"]}
        await self._feeds.publish(feed_of(location), kind, goods | of)

    async def _write_off(self, article: Article, location: str, units: int) -> None:
        of = {"sku": article.sku, "location": location}
        feed = feed_of(location)
        scrapped = {"quantity": -units, "reason": "scrapped"}
        repaired = {"from_state": "damaged", "to_state": "sellable", "quantity": units}
        await self._feeds.publish(feed, "adjustment", {**of, **scrapped})
        await self._feeds.publish(feed, "state_change", {**of, **repaired})

    async def _handle(self, article: Article, level: dict[str, Any]) -> None:
        """Damage one unit, or count a shelf."""
        of = {"sku": article.sku, "location": level["location"]}
        feed = feed_of(level["location"])
        if self._random.random() < 0.5 and level["ats"] > 1:
            damaged = {"from_state": "sellable", "to_state": "damaged", "quantity": 1}
            await self._feeds.publish(feed, "state_change", {**of, **damaged})
        elif level["on_hand"] > 1:
            missing = self._random.choice((0, 0, 0, 1))
            await self._feeds.publish(feed, "count", {**of, "quantity": level["on_hand"] - missing})

    def _in_a_while(self) -> datetime:
        return self._feeds.now() + timedelta(seconds=self._random.randint(30, 180))
