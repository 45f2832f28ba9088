"""The ledger says of every event what the script answered."""

from typing import Any

import psycopg

from atp_service.inventory.commands import (
    Adjustment,
    Count,
    Fact,
    Incoming,
    Park,
    Return,
    Snapshot,
    SnapshotClosed,
    StateChange,
    TransferReceived,
    TransferShipped,
)
from atp_service.inventory.outcomes import Absorbed, Applied, Parked
from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.builders import receipt, sale
from tests.recorders import recorded, recording

BEFORE, COUNTED, AFTER = 1_763_000_000_000, 1_763_000_060_000, 1_763_000_120_000
PLACE: dict[str, Any] = {"sku": "SKU-1", "location": "DC-1"}


def facts() -> list[Fact]:
    """One of each kind, and those that a count at COUNTED has seen already."""
    number = iter(range(100))

    def key(at_ms: int) -> dict[str, Any]:
        return {"source": "wms/dc-1", "event_id": f"fact-{next(number)}", "occurred_at_ms": at_ms}

    return [
        receipt("SKU-1", 10),
        Count(**key(COUNTED), **PLACE, quantity=10, deltas_after=0, moves=1),  # no difference
        Count(**key(BEFORE), **PLACE, quantity=99, deltas_after=0, moves=2),  # an older one
        Snapshot(**key(BEFORE), **PLACE, quantity=9, policy="report", moves=2),
        Snapshot(**key(AFTER), **PLACE, quantity=10, policy="correct", moves=2),
        Snapshot(**key(AFTER), **PLACE, quantity=9, policy="report", moves=2),
        Snapshot(**key(AFTER), **PLACE, quantity=9, policy="review", moves=2),
        SnapshotClosed(**key(AFTER), location="DC-1"),
        Adjustment(**key(BEFORE), **PLACE, quantity=-4),
        Adjustment(**key(AFTER), **PLACE, quantity=-4),
        Return(**key(BEFORE), **PLACE, quantity=1),
        Return(**key(BEFORE), **PLACE, quantity=1, disposition="to_dc", document="RMA-1"),
        Return(**key(AFTER), **PLACE, quantity=1, disposition="damaged"),
        Incoming(**key(AFTER), **PLACE, quantity=40, document="PO-1"),
        Incoming(**key(BEFORE), **PLACE, quantity=50, document="PO-1"),
        StateChange(**key(BEFORE), **PLACE, quantity=1, from_state="damaged", to_state="sellable"),
        TransferShipped(
            **key(BEFORE), sku="SKU-1", from_location="DC-1", to_location="S-1", quantity=2,
            document="T-1",
        ),
        TransferReceived(**key(AFTER), sku="SKU-1", to_location="S-1", quantity=2, document="T-1"),
        sale("SKU-1", 1),
        Park(
            **key(AFTER), reason="unknown-sku", owner="integration", subject="SKU-9",
            detail="nobody knows SKU-9", payload="{}",
        ),
    ]  # fmt: skip


async def test_what_the_ledger_says_of_an_event_is_what_the_script_answered(
    stock: Store, ledger: Ledger, database_url: str
) -> None:
    told = facts()
    outcomes = await stock.apply_all(told)
    answered = {
        fact.event_id: type(outcome).__name__.lower()
        for fact, outcome in zip(told, outcomes, strict=True)
    }
    assert {type(outcome) for outcome in outcomes} == {Applied, Absorbed, Parked}
    async with recording(stock, database_url):
        await recorded(stock, ledger, 30.0)
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT event_id, status FROM events").fetchall()
    assert dict(found) == answered
