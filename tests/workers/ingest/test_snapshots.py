"""A snapshot published line by line, its end right behind: nothing of it is overtaken."""

from atp_service.catalog import Feed
from tests.facts.trade import DC, ERP, Retailer, event, now_ms
from tests.workers.ingest.conftest import Stream, worker

LINES = 1_300  # more than one group of the worker's


async def test_the_end_of_a_snapshot_does_not_overtake_its_lines(
    shop: Retailer, stream: Stream, nats_url: str, ledger_url: str
) -> None:
    await shop.catalog.put(Feed(id=ERP, kind="erp", snapshot="correct"))
    skus = [f"SKU-{n}" for n in range(3, LINES + 4)]
    await shop.catalog.ensure(skus=skus, locations=set(), feeds=set())
    taken_at = now_ms() - 60_000
    async with shop.recording(ledger_url), worker(shop, nats_url):
        *mentioned, left_out = skus
        receipts = [event("receipt", sku=sku, quantity=5, at_ms=taken_at - 1) for sku in skus]
        await stream.publish(*receipts)
        await stream.drained()
        lines = [
            event("snapshot", source=ERP, sku=sku, quantity=6, at_ms=taken_at) for sku in mentioned
        ]
        end = event("snapshot", source=ERP, at_ms=taken_at, final=True)
        end["data"] = {"location": DC, "final": True}
        await stream.publish(*lines, end, subject="atp.events.erp.stock")
        await stream.drained()
        levels = await shop.store.levels([(sku, DC) for sku in skus])
        assert [level.on_hand for level in levels if level] == [6] * LINES + [0]
        # Each was corrected once: told to be 0 by mistake, it would have been moved twice.
        assert {level.moves for level in levels if level} == {2}
        assert await shop.on_hand(left_out) == 0
