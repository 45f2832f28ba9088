"""`atp verify` over a ledger of sales, holds and confirms: every entry hashed, folded, compared.

By its own account of the walk, which has everything in it but the process's start: reading the
entries, chain and digests, the fold; every other table row by row. Beside it, for information, the
same with every command executed once more.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

import psycopg
import uvloop

from atp_service import app
from atp_service.inventory.commands import (
    Command,
    Confirm,
    Hold,
    HoldLine,
    Receipt,
    Sale,
    fingerprint,
)
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import ROOT, Instance, instance, until

RATE = 54_000  # 0.4 of the rate before there was one walk
SKUS = 2_000
_AT_ONCE = 2_000
_RECORDING_SECONDS = 300.0


def measure(*, quick: bool) -> Result:
    """The ledger is written once and verified several times."""
    rounds, entries = (1, 60_000) if quick else (4, 400_000)
    with instance() as here:
        last = uvloop.run(_trade(here, entries))
        _record(here, last)
        _verify(here)  # to warm up
        pairs = [(_verify(here), _verify(here, "--execute")) for _ in range(rounds)]
    verdicts, executed = zip(*pairs, strict=True)
    for verdict in (*verdicts, *executed):
        if not verdict["holds"]:
            raise RuntimeError(f"the ledger does not hold: {verdict['first']}")
    rates = [verdict["entries_per_second"] for verdict in verdicts]
    rates_executed = [verdict["entries_per_second"] for verdict in executed]
    rows = verdicts[0]["rows"]
    return Result(
        checks=[Check(what="entries/s", figures=rates, target=RATE, at_most=False, unit="/s")],
        notes=[
            f"{last:,} entries, {rows:,} rows of projections",
            f"to the verdict {around([verdict['seconds'] for verdict in verdicts], 's')}",
            f"with --execute {around(rates_executed, '/s')}",
            f"… / of the same ledger's without {around(ratios(rates_executed, rates))}",
        ],
    )


async def _trade(here: Instance, entries: int) -> int:
    """Entries into the journal; the seq of the last."""
    commands = _commands()
    async with app.connections(here.settings, "bench") as parts:
        await parts.store.apply_all([_receipt(number) for number in range(SKUS)])
        for _ in range(0, entries, _AT_ONCE):
            await parts.store.apply_all(list(islice(commands, _AT_ONCE)))
        (last,) = await parts.store.last_entries()
        return last.seq


def _record(here: Instance, last: int) -> None:
    worker = here.start("record", "atp_service", "worker", "--only", "record")
    with psycopg.connect(here.settings.migration_url or "", autocommit=True) as owner:

        def is_recorded() -> bool:
            row = owner.execute("SELECT coalesce(max(seq), 0) FROM positions").fetchone()
            return row is not None and row[0] >= last

        until(is_recorded, worker, _RECORDING_SECONDS)
        worker.stop()
        owner.execute("VACUUM ANALYZE")


def _verify(here: Instance, *options: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", "verify", "--no-redis", "--json", *options],
        cwd=ROOT,
        env=os.environ | {"ATP_DATABASE_URL": here.settings.database_url or ""},
        stdout=subprocess.PIPE,
        check=False,
    )
    verdict: dict[str, float] = json.loads(done.stdout)
    return verdict


def _receipt(number: int) -> Command:
    return Receipt(
        source="wms/dc-1",
        event_id=f"receipt-{number}",
        occurred_at_ms=_now_ms(),
        sku=shop.sku(number),
        location=shop.LOCATION,
        quantity=shop.PLENTY,
    )


def _commands() -> Iterator[Command]:
    """Carts of one line and of two, half of which become orders; as many entries again are sales
    of the tills."""
    number = 0
    while True:
        number += 1
        skus = [shop.sku(number * prime % SKUS) for prime in (7, 11)[: 1 + number % 2]]
        lines = [
            HoldLine(line_id=str(place), sku=sku, location=shop.LOCATION, quantity=1)
            for place, sku in enumerate(dict.fromkeys(skus), 1)
        ]
        cart = f"cart-{number:09d}"
        yield Hold(
            reservation_id=cart,
            lines=lines,
            fingerprint=fingerprint(lines),
            ttl_ms=14_400_000,
            channel="web",
            customer_id=f"customer-{number % 1000}",
        )
        if number % 2:
            yield Confirm(reservation_id=cart, order_id=f"order-{number:09d}")
        for till in range(1 + number % 2):
            yield Sale(
                source="pos/store-042",
                event_id=f"042-{number:09d}-{till}",
                occurred_at_ms=_now_ms(),
                sku=shop.sku((number * 13 + till) % SKUS),
                location=shop.LOCATION,
                quantity=1,
                document=f"receipt-{number}",
            )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
