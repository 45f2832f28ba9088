"""The journal to Postgres by one worker, against COPY of the same rows into bare tables.

Half of the entries are sales, half are holds. A bare table has the columns, primary key and
indexes of the ledger's, but no triggers, no slices and no position to move; each gets all of its
rows in one COPY, the three in one transaction, synced at its end as the recorder's are.
"""

import time
from collections.abc import Sequence
from itertools import count

import psycopg
import uvloop

from atp_service import app
from atp_service.inventory.commands import Command, Hold, HoldLine, Receipt, Sale, fingerprint
from atp_service.processes.child import Child
from loadtests.bench import shop
from loadtests.bench.board import Check, Result, around, ratios
from loadtests.bench.machine import Instance, cpu_seconds, instance

RATE = 15_000
TARGET = 0.2
SKUS = 2_000
TABLES = ("entries", "movements", "events")
_AT_ONCE = 2_000
_LOOK_SECONDS = 0.01
_GIVE_UP_SECONDS = 300.0


def measure(*, quick: bool) -> Result:
    """The worker runs record and nothing else; its rate is taken without its start."""
    rounds, entries = (1, 20_000) if quick else (4, 100_000)
    rates: list[float] = []
    cpu_micros: list[float] = []
    bare: list[float] = []
    with instance() as here, psycopg.connect(here.settings.migration_url or "") as owner:
        owner.autocommit = True
        _make_bare_tables(owner)
        numbers = count(1)
        for _ in range(rounds):
            before, last = uvloop.run(_trade(here, numbers, entries))
            worker = here.start("record", "atp_service", "worker", "--only", "record")
            rate, micros = _watch(owner, worker, before, last)
            worker.stop()
            rates.append(rate)
            cpu_micros.append(micros)
            bare.append((last - before) / _copy(owner, before))
    return Result(
        checks=[
            Check(what="entries/s", figures=rates, target=RATE, at_most=False, unit="/s"),
            Check(
                what="… / of bare COPY of the same entries, movements and events",
                figures=ratios(rates, bare),
                target=TARGET,
                at_most=False,
            ),
        ],
        notes=[
            f"bare COPY {around(bare, '/s')}",
            f"the worker's CPU per entry {around(cpu_micros, 'µs')}",
        ],
    )


async def _trade(here: Instance, numbers: "count[int]", entries: int) -> tuple[int, int]:
    """Entries into the journal; the seq before them, and that of the last."""
    async with app.connections(here.settings, "bench") as parts:
        (before,) = await parts.store.last_entries()
        if not before.seq:
            await parts.store.apply_all([_receipt(number) for number in range(SKUS)])
        for _ in range(0, entries, _AT_ONCE):
            await parts.store.apply_all([_command(next(numbers)) for _ in range(_AT_ONCE)])
        (last,) = await parts.store.last_entries()
    if last.seq - before.seq < entries:
        raise RuntimeError(f"{entries} commands left {last.seq - before.seq} entries")
    return before.seq, last.seq


def _receipt(number: int) -> Command:
    return Receipt(
        source="wms/dc-1",
        event_id=f"receipt-{number}",
        occurred_at_ms=time.time_ns() // 1_000_000,
        sku=shop.sku(number),
        location=shop.LOCATION,
        quantity=shop.PLENTY,
    )


def _command(number: int) -> Command:
    sku = shop.sku(number // 2 * 7 % SKUS)
    if number % 2:
        return Sale(
            source="pos/store-042",
            event_id=f"042-{number:09d}",
            occurred_at_ms=time.time_ns() // 1_000_000,
            sku=sku,
            location=shop.LOCATION,
            quantity=1,
            document=f"receipt-{number // 4}",
        )
    lines = [HoldLine(line_id="1", sku=sku, location=shop.LOCATION, quantity=1)]
    return Hold(
        reservation_id=f"cart-{number:09d}",
        lines=lines,
        fingerprint=fingerprint(lines),
        ttl_ms=14_400_000,
        channel="web",
        customer_id=f"customer-{number % 1000}",
    )


def _watch(owner: psycopg.Connection, worker: Child, before: int, last: int) -> tuple[float, float]:
    """Entries/s and CPU µs an entry, from the worker's first commit to its last."""
    began, at_first, cpu = 0.0, 0, 0.0
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        seq = _one(owner, "SELECT coalesce(max(seq), 0) FROM positions")
        now = time.monotonic()
        if not began and seq > before:
            began, at_first, cpu = now, seq, cpu_seconds(worker.pid)
        if seq >= last:
            count_of = last - at_first
            return count_of / (now - began), (cpu_seconds(worker.pid) - cpu) / count_of * 1e6
        if worker.ended is not None or now > deadline:
            raise RuntimeError(f"the recorder did not get there:\n{worker.last_words()}")
        time.sleep(_LOOK_SECONDS)


def _make_bare_tables(owner: psycopg.Connection) -> None:
    owner.execute("CREATE SCHEMA bare")
    for table in TABLES:
        owner.execute(f"CREATE TABLE bare.{table} (LIKE {table} INCLUDING ALL)".encode())


def _copy(owner: psycopg.Connection, after_seq: int) -> float:
    """Seconds to COPY the rows of the entries after `after_seq`."""
    rows = {table: _rows(owner, table, after_seq) for table in TABLES}
    began = time.monotonic()
    with owner.transaction(), owner.cursor() as cursor:
        for table, parts in rows.items():
            with cursor.copy(f"COPY bare.{table} FROM STDIN (FORMAT BINARY)".encode()) as copy:
                for part in parts:
                    copy.write(part)
    return time.monotonic() - began


def _rows(owner: psycopg.Connection, table: str, after_seq: int) -> Sequence[bytes]:
    query = f"COPY (SELECT * FROM {table} WHERE seq > {after_seq}) TO STDOUT (FORMAT BINARY)"
    with owner.cursor().copy(query.encode()) as copy:
        whole = b"".join(bytes(part) for part in copy)
    size = 1 << 18
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _one(owner: psycopg.Connection, query: str) -> int:
    row = owner.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
