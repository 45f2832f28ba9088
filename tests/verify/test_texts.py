"""Text that Postgres has no room for is recorded all the same, and what it says verifies."""

from typing import Any

import pytest

from atp_service.inventory.commands import Command, Incoming, StateChange
from tests.verify.shop import NOON, Shop

NUL, SHOWN, SAID = "2026-12-01\0", "2026-12-01\ufffd", r"a backslash, and then \u0000"


def expected(document: str, eta: str) -> Incoming:
    return Incoming(
        source="wms/dc-1",
        event_id=f"ordered {document}",
        occurred_at_ms=NOON + 2_000,
        sku="SKU-21311",
        location="DC-1",
        quantity=5,
        document=document,
        eta=eta,
    )


def set_aside(state: str) -> StateChange:
    return StateChange(
        source="wms/dc-1",
        event_id=f"set aside as {state}",
        occurred_at_ms=NOON + 2_001,
        sku="SKU-21311",
        location="DC-1",
        quantity=1,
        from_state="sellable",
        to_state=state,
    )


async def extras(shop: Shop) -> dict[str, Any]:
    async with shop.ledger.connection() as connection:
        cursor = await connection.execute("SELECT extras FROM levels WHERE sku = 'SKU-21311'")
        row = await cursor.fetchone()
    assert row is not None
    found: dict[str, Any] = row[0]
    return found


@pytest.mark.parametrize("entries", ["a few", "a backlog"])
async def test_a_nul_in_the_journal_stops_no_recorder_and_shows_as_what_it_is_not(
    shop: Shop, entries: str
) -> None:
    told: list[Command] = [expected("PO-2\0", NUL), expected("PO-3", SAID), set_aside("dirty\0")]
    if entries == "a backlog":  # which is written in another way
        told += [set_aside(f"state {n}\0") for n in range(100)]
    await shop.store.apply_all(told)
    await shop.trade(expected("PO-4", "2026-12-02"))
    kept = await extras(shop)
    assert kept["documents"]["PO-2\ufffd"] == {
        "expected": 5,
        "eta": SHOWN,
        "expected_at": NOON + 2_000,
    }
    assert kept["documents"]["PO-3"]["eta"] == SAID
    assert kept["states"]["dirty\ufffd"] == 1


@pytest.mark.parametrize("execute", [False, True], ids=["folded", "executed"])
async def test_what_had_a_nul_in_it_verifies(shop: Shop, execute: bool) -> None:
    await shop.trade(expected("PO-2\0", NUL), expected("PO-2\ufffd", SAID), set_aside("dirty\0"))
    verdict = await shop.verdict(execute=execute)
    assert verdict.findings == []
    assert verdict.holds
