"""A small shop with a past, and what verifying it says."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from atp_service.inventory.commands import (
    Command,
    Fulfil,
    Incoming,
    Park,
    Release,
    SafetyStock,
    Sale,
    Snapshot,
    StateChange,
)
from atp_service.ledger import Ledger
from atp_service.store import Partition, Store
from atp_service.verify import Verdict, Verification
from atp_service.verify.progress import Progress
from tests.builders import hold, order, receipt, sale
from tests.recorders import recorded, recording
from tests.workers.record.trade import a_day

DAY_MS = 86_400_000
SKUS = "SKU-2131"  # and a digit: of three partitions the last has them all
NOON = 1_764_000_000_000


@dataclass
class Shop:
    """`database_url` is the service's, `owner_url` the one of the role that owns the tables."""

    database_url: str
    owner_url: str
    store: Store
    ledger: Ledger

    @property
    def partition(self) -> Partition:
        """The one that has all SKUs of this shop."""
        return self.store.partitions[-1]

    async def trade(self, *commands: Command) -> None:
        """Each in a step of its own, recorded when this returns."""
        for command in commands:
            await self.store.apply(command)
        async with recording(self.store, self.database_url):
            await recorded(self.store, self.ledger)

    async def verdict(self, *, redis: bool = True, execute: bool = False) -> Verdict:
        verification = Verification(self.database_url, DAY_MS, Progress(), execute=execute)
        with verification:
            verification.walk_ledger()
            if redis:
                await verification.compare_redis(self.store, self.ledger)
            return verification.verdict()

    def tamper(self, table: str, statement: str, *values: object) -> None:
        """As the owner, who can disable what refuses a change."""
        switch = "ALTER TABLE {} {} TRIGGER append_only"
        with psycopg.connect(self.owner_url) as connection:
            name = sql.Identifier(table)
            guarded = connection.execute(
                "SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'append_only'",
                (table,),
            ).fetchone()
            if guarded is not None:
                connection.execute(sql.SQL(switch).format(name, sql.SQL("DISABLE")))
            changed = connection.execute(statement.encode(), values)
            assert changed.rowcount > 0, "nothing was changed"
            if guarded is not None:
                connection.execute(sql.SQL(switch).format(name, sql.SQL("ENABLE")))


def a_past() -> list[Command]:
    """Something of everything: what is sold, held, promised, shipped, counted, set aside."""
    of_event = {"source": "wms/dc-1", "sku": "SKU-21311", "location": "DC-1"}
    kept, confirmed = order("cart-kept", "SKU-21311", 2), order("cart-confirmed", "SKU-21312", 3)
    cart = getattr(kept[0], "reservation_id")  # noqa: B009
    shipped = getattr(confirmed[0], "reservation_id")  # noqa: B009
    return [
        *a_day(40, SKUS),
        SafetyStock(sku="SKU-21313", location="DC-1", safety_stock=4),
        StateChange(
            event_id="set-aside",
            occurred_at_ms=NOON + 1_000,
            quantity=2,
            from_state="sellable",
            to_state="damaged",
            **of_event,
        ),
        Incoming(
            event_id="ordered",
            occurred_at_ms=NOON + 1_001,
            quantity=40,
            document="PO-1",
            eta="2026-12-01",
            **of_event,
        ),
        receipt("SKU-21311", 7),
        kept[0],
        *confirmed,
        Fulfil(reservation_id=shipped, shipment_id="truck-1"),
        hold("cart-open", "SKU-21314"),
        Release(reservation_id=cart),
        sale("SKU-21311", 3),
        Sale(
            event_id="early",
            occurred_at_ms=NOON + 1_002,
            quantity=1,
            order_id="order-to-come",
            **of_event,
        ),
        sale("SKU-21318", 2),
        receipt("SKU-21318", 5),
        Park(
            source="wms/dc-1",
            event_id="unknown",
            occurred_at_ms=NOON + 1_003,
            reason="unknown-sku",
            owner="integration",
            subject="SKU-X",
            detail="nobody has told of SKU-X",
            payload="{}",
        ),
        Snapshot(
            source="erp",
            event_id="list",
            occurred_at_ms=NOON + 1_004,
            sku="SKU-21318",
            location="DC-1",
            quantity=9,
            policy="report",
            moves=2,
        ),
        sale("SKU-21311"),
    ]
