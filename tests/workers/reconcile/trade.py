"""What goes on in a shop while it is compared, and how a comparison is asked for."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Literal

import msgspec
import psycopg
from redis.asyncio import Redis

from atp_service.inventory.commands import (
    Command,
    Count,
    Expire,
    Extend,
    Fulfil,
    Incoming,
    LineUnits,
    NoPick,
    Release,
    Replace,
    Shipment,
    StateChange,
    TransferReceived,
    TransferShipped,
    fingerprint,
)
from atp_service.inventory.outcomes import Faulted
from atp_service.inventory.stock import SEPARATOR
from atp_service.ledger import Ledger, reconciliations
from atp_service.ledger.reconciliations import Drift, Reconciliation, Scope
from atp_service.store import Store
from atp_service.workers import reconcile
from tests.builders import confirm, fact, hold, lines_of, receipt, sale
from tests.recorders import SECONDS, recorded
from tests.retailer import now_ms

Kind = Literal["stock", "reservations", "orders", "deadlines"]
KINDS: tuple[Kind, ...] = ("stock", "reservations", "orders", "deadlines")
_numbers = count(1)

Kept = dict[str, dict[bytes, Any]]


def counted(sku: str, quantity: int, *, moves: int, location: str = "DC-1") -> Count:
    """A count of a moment ago: nothing has happened since, and what happens now is later."""
    return fact(
        Count, occurred_at_ms=now_ms() - 1, sku=sku, location=location, quantity=quantity,
        deltas_after=0, moves=moves,
    )  # fmt: skip


class Shop:
    """A stock whose journal is being recorded."""

    def __init__(self, store: Store, ledger: Ledger, redis: Redis, database_url: str) -> None:
        self.store = store
        self.ledger = ledger
        self.redis = redis
        self.database_url = database_url

    async def do(self, *commands: Command) -> None:
        """Done, and in the ledger."""
        reaping = [command for command in commands if isinstance(command, Expire)]
        for partition in self.store.partitions:
            await partition.apply_all(reaping)
        outcomes = await self.store.apply_all([c for c in commands if c not in reaping])
        assert not any(isinstance(outcome, Faulted) for outcome in outcomes), outcomes
        await recorded(self.store, self.ledger, SECONDS)

    async def reconcile(self, *, repair: bool = True, scope: Scope | None = None) -> Reconciliation:
        """A run, over when this returns."""
        asked = await reconciliations.request(
            self.ledger, scope or Scope(), repair=repair, asked_by="test"
        )
        async with reconciliations.lease(self.database_url) as lease:
            assert lease is not None
            await reconcile.work_off(self.store, self.ledger, lease, asyncio.Event())
        run = await reconciliations.get(self.ledger, asked.id)
        assert run is not None
        return run

    async def drift(self, *, repair: bool = True) -> list[Drift]:
        """What a run has found; it has come to its end."""
        run = await self.reconcile(repair=repair)
        assert run.status == "done", run.report
        assert run.report.drift_total == len(run.report.drift)
        return run.report.drift

    async def kept(self) -> Kept:
        """All that Redis keeps of the stock."""
        kept: Kept = {kind: {} for kind in KINDS}
        redis: Any = self.redis  # bytes here
        for keys in (partition.keys for partition in self.store.partitions):
            for kind in KINDS[:3]:
                kept[kind] |= await redis.hgetall(getattr(keys, kind))
            kept["deadlines"] |= dict(await redis.zrange(keys.deadlines, 0, -1, withscores=True))
        return kept

    async def key_of(self, kind: Kind, name: str) -> str:
        """The key that has the name: of its SKU's partition, or of the one that has it by now.

        What no partition has belongs to that of SKU-0, as most carts do.
        """
        if kind == "stock":
            return self.store.partition_of(name.split(SEPARATOR)[0]).keys.stock
        redis: Any = self.redis
        asked = redis.zscore if kind == "deadlines" else redis.hget
        for partition in self.store.partitions:
            key: str = getattr(partition.keys, kind)
            if await asked(key, name) is not None:
                return key
        home: str = getattr(self.store.partition_of("SKU-0").keys, kind)
        return home

    async def value(self, kind: Kind, name: str) -> bytes:
        """What Redis keeps under a name."""
        value: Any = await self.redis.hget(await self.key_of(kind, name), name)
        assert isinstance(value, bytes), f"nothing under {name}"
        return value

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        """Rows from the ledger."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()


def changed(before: Kept, after: Kept) -> dict[str, set[bytes]]:
    """The names whose values are not what they were."""
    found = {
        kind: {
            name
            for name in before[kind].keys() | after[kind].keys()
            if before[kind].get(name) != after[kind].get(name)
        }
        for kind in before
    }
    return {kind: names for kind, names in found.items() if names}


def level_name(sku: str, location: str = "DC-1") -> str:
    return f"{sku}{SEPARATOR}{location}"


async def assorted(shop: Shop, skus: int = 5) -> None:
    """Some of everything that can be kept: open and closed, early, expected and set apart."""
    names = [f"SKU-{number}" for number in range(skus)]
    await shop.do(*[receipt(sku, 1_000) for sku in names])
    await shop.do(
        receipt("SKU-0", 10, "STORE-1"),
        hold("cart-held", "SKU-0", "SKU-3", quantity=2),
        hold("cart-confirmed", "SKU-0", "SKU-3", quantity=3),
        confirm("cart-confirmed", "order-confirmed"),
        hold("cart-second", "SKU-3"),
        confirm("cart-second", "order-confirmed"),
        hold("cart-fulfilled", "SKU-1"),
        confirm("cart-fulfilled", "order-fulfilled"),
        Fulfil(reservation_id="cart-fulfilled"),
        hold("cart-released", "SKU-2"),
        Release(reservation_id="cart-released"),
        sale("SKU-3", order_id="order-early"),
        fact(
            StateChange,
            sku="SKU-4",
            location="DC-1",
            quantity=3,
            from_state="sellable",
            to_state="damaged",
        ),
        fact(Incoming, sku="SKU-4", location="DC-1", quantity=40, document="PO-1"),
    )


class Traffic:
    """Holds, confirms, releases, sales, lapses and all the rest, from many hands at once."""

    def __init__(self, shop: Shop, skus: list[str], seed: int) -> None:
        self._shop = shop
        self._skus = skus
        self._random = random.Random(seed)  # a shop, not a secret
        self.commands = 0

    @asynccontextmanager
    async def going_on(self, hands: int = 4) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._trade()) for _ in range(hands)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def _trade(self) -> None:
        while True:
            commands = [c for _ in range(8) for c in self._some()]
            # Each hand waits for the ledger: the recorder has to share one core with all of them.
            await self._shop.do(*commands)
            self.commands += len(commands)

    def _some(self) -> Iterator[Command]:
        chance, sku = self._random, self._random.choice(self._skus)
        skus = tuple(chance.sample(self._skus, chance.randint(1, 3)))
        number = next(_numbers)
        cart, order, line = f"cart-{number}", f"order-{number}", LineUnits(line_id="1", quantity=1)
        early = chance.random() < 0.1
        if early:
            yield sale(skus[0], order_id=order)
        yield hold(cart, *skus, quantity=2, ttl_ms=chance.choice([1, 200, 60_000]))
        match chance.randrange(12):
            case 0:
                yield Release(reservation_id=cart)
            case 1:
                yield Release(reservation_id=cart, lines=[line])
            case 2:
                lines = lines_of(*skus, quantity=3)
                yield Replace(
                    reservation_id=cart,
                    lines=lines,
                    fingerprint=fingerprint(lines),
                    ttl_ms=chance.choice([1, 60_000]),
                )
            case 3:
                yield Extend(reservation_id=cart, ttl_ms=chance.choice([1, 60_000]))
            case 4 | 5 | 6 | 7:
                yield confirm(cart, order)
                match chance.randrange(6):
                    case 0:
                        yield Fulfil(reservation_id=cart)
                    case 1:
                        yield Fulfil(reservation_id=cart, lines=[line], location="STORE-1")
                    case 2:
                        yield Release(reservation_id=cart)
                    case 3:
                        yield fact(
                            Shipment,
                            sku=skus[0],
                            location=chance.choice(["DC-1", "STORE-1"]),
                            quantity=chance.randint(1, 4),
                            order_id=order,
                            shipment_id=f"shipment-{number}",
                        )
                    case 4:
                        yield NoPick(
                            reservation_id=cart,
                            line_id="1",
                            quantity=1,
                            reason=chance.choice(["not_in_stock", "damaged"]),
                        )
            case 8:
                yield sale(skus[0], 2, reservation_id=cart)
            case 9:
                # The same id again once it is forgotten, and one order of many carts.
                number = self._shop.store.partition_of(sku).number
                again = f"again-{number}-{chance.randrange(20)}"
                yield hold(again, sku, ttl_ms=chance.choice([1, 300]))
                yield confirm(again, f"together-{number}-{chance.randrange(5)}")
                yield Release(reservation_id=again)
            case 10:
                number = self._shop.store.partition_of(sku).number
                yield sale(sku, order_id=f"nobody-confirms-{number}-{chance.randrange(50)}")
        match chance.randrange(10):
            case 0:
                yield receipt(sku, chance.randint(1, 50))
            case 1:
                yield sale(sku, chance.randint(1, 3))
            case 2:
                yield receipt(f"new-{number}", 5, chance.choice(["DC-1", "STORE-1"]))
            case 3:
                document = f"transfer-{number}"
                yield fact(
                    TransferShipped,
                    sku=sku,
                    from_location="DC-1",
                    to_location="STORE-1",
                    quantity=2,
                    document=document,
                )
                yield fact(
                    TransferReceived, sku=sku, to_location="STORE-1", quantity=2, document=document
                )
            case 4:
                yield fact(Count, sku=sku, location="STORE-1", quantity=7, deltas_after=0, moves=1)
            case 5:
                yield Expire(limit=50)


def decoded(image: bytes) -> Any:
    return msgspec.msgpack.decode(image)
