"""Shoppers online: they look, hold a cart, and then buy, change their minds or walk away."""

import asyncio
import itertools
from random import Random
from typing import Any

from atp_service.demo.assortment import ARTICLES
from atp_service.demo.chance import chance
from atp_service.demo.feeds import Feeds
from atp_service.demo.pauses import Pauses
from atp_service.demo.places import CHANNELS_ONLINE, DC, STORES, THIRD_PARTY, feed_of
from atp_service.demo.service import Service

_PACES = [article.pace for article in ARTICLES]
AT_ONCE = 100


class Shoppers:
    """Each shopper is a task of its own; `run` is part of their carts' ids."""

    def __init__(self, service: Service, feeds: Feeds, random: Random, run: str) -> None:
        self._service = service
        self._feeds = feeds
        self._random = random
        self._run = run

    async def come_and_go(self, pauses: Pauses) -> None:
        """Send in one or two a second. Returns when the shop is closed and all have left."""
        async with asyncio.TaskGroup() as inside:
            shopping: set[asyncio.Task[None]] = set()
            for number in itertools.count(1):
                if not await pauses.about(0.7, self._random):
                    return
                if len(shopping) < AT_ONCE:
                    # Each shopper has its own chance, so that others do not change its visit.
                    random = chance(self._random.random())
                    task = inside.create_task(self._shop(f"{self._run}-{number}", random, pauses))
                    shopping.add(task)
                    task.add_done_callback(shopping.discard)

    async def _shop(self, name: str, random: Random, pauses: Pauses) -> None:
        channel = random.choices(CHANNELS_ONLINE, (7, 2, 1))[0]
        lines = await self._choose(random, channel)
        if not lines:
            return
        cart = f"/v1/reservations/cart-{name}"
        leaves = random.random() < 0.15
        hold = {
            "reservation_id": f"cart-{name}",
            "channel": channel,
            "customer_id": f"c-{random.randint(1, 5_000)}",
            "ttl_seconds": 30 if leaves else 600,
            "lines": lines,
        }
        answer = await self._service.call("POST", "/v1/reservations", hold)
        if answer.status_code != 201 or leaves:
            return  # another shopper was faster; or the hold will lapse
        await pauses.about(8.0, random)
        if random.random() < 0.3:
            await self._service.call("POST", f"{cart}/release", {"reason": "changed their mind"})
            return
        order = f"order-{name}"
        answer = await self._service.call("POST", f"{cart}/confirm", {"order_id": order})
        if answer.status_code == 200:
            await pauses.about(10.0, random)
            await self._hand_over(cart, order, lines, random)

    async def _choose(self, random: Random, channel: str) -> list[dict[str, Any]]:
        """Lines for up to three articles, to be shipped, or to be picked up at one store."""
        articles = random.choices(ARTICLES, _PACES, k=random.choice((1, 1, 2, 3)))
        skus = list(dict.fromkeys(article.sku for article in articles))
        store = random.choice(STORES) if random.random() < 0.25 else None
        lines: list[dict[str, Any]] = []
        for item in await self._service.levels(skus, channel):
            wanted = {"sku": item["sku"], "quantity": random.choice((1, 1, 1, 2, 3))}
            for level in item["locations"]:
                location = level["location"]
                fits = location == store if store else location not in STORES
                if fits and level["ats"] > 0:
                    lines.append({"line_id": str(len(lines) + 1), "location": location, **wanted})
        return lines

    async def _hand_over(
        self, cart: str, order: str, lines: list[dict[str, Any]], random: Random
    ) -> None:
        """Hand the order over: the warehouse publishes shipments, a store calls the API."""
        if lines[0]["location"] in (DC, THIRD_PARTY):
            for line in lines:
                goods = {name: line[name] for name in ("sku", "location", "quantity")}
                of = {"order_id": order, "shipment_id": f"{order}-{line['line_id']}"}
                await self._feeds.publish(feed_of(line["location"]), "shipment", goods | of)
            return
        if random.random() < 0.05:
            missing = {"line_id": "1", "quantity": 1, "reason": "not_in_stock"}
            await self._service.call("POST", f"{cart}/no-pick", missing)
        await self._service.call("POST", f"{cart}/fulfil", {"shipment_id": f"{order}-counter"})
