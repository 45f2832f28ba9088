"""However fast things change while they are compared: there is no false alarm.

What cannot happen: a difference that nobody has made. Everything a partition can do is done, by
many hands, on few SKUs, with deadlines and a dedupe window so short that things lapse and are
forgotten while they are looked at.
"""

import pytest

from atp_service.ledger.reconciliations import Scope
from tests.builders import receipt
from tests.workers.reconcile.trade import Shop, Traffic

RUNS = 3
SKUS = [f"SKU-{number}" for number in range(6)]


@pytest.mark.parametrize("window_ms", [700, 86_400_000])
async def test_nothing_is_found_where_nobody_has_changed_anything(shop: Shop) -> None:
    await shop.do(*[receipt(sku, 100_000) for sku in SKUS])
    traffic = Traffic(shop, SKUS, seed=1)
    async with traffic.going_on():
        for _ in range(RUNS):
            run = await shop.reconcile(repair=False)
            assert run.status == "done", run.report.reason
            assert run.report.drift == []
    assert traffic.commands > 1_000
    run = await shop.reconcile(repair=False)
    assert run.report.drift == []
    assert run.report.compared.levels > len(SKUS)
    assert run.report.compared.reservations > 100
    run = await shop.reconcile(repair=False, scope=Scope(skus=["SKU-1"]))
    assert (run.report.compared.levels, run.report.drift) == (2, [])
