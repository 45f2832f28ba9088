"""Stock that moves, and what the ledger must say of it afterwards."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import count

import msgspec
import psycopg

from atp_service.inventory.commands import Command
from atp_service.inventory.journal import Entry, decode_head
from atp_service.ledger.position import GENESIS
from atp_service.ledger.write.rows import entry_values
from atp_service.store import Store
from tests.builders import order, receipt, sale

_number = count(1)
_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def a_day(entries: int, prefix: str = "SKU-") -> Sequence[Command]:
    """Sales, receipts and orders over a few SKUs: `entries` commands that each leave an entry.

    Of several partitions each has one of the SKUs at least.
    """
    commands: list[Command] = [receipt(f"{prefix}{n}", 1_000_000) for n in range(5)]
    while len(commands) < entries:
        sku = f"{prefix}{len(commands) % 5}"
        commands += [sale(sku, 2), receipt(sku, 3), *order(f"cart-{next(_number)}", sku)]
    return commands[:entries]


async def assert_recorded_once(stock: Store, database_url: str) -> None:
    """The ledger has all that happened, once and in order, and says what Redis says."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute(
            """
            SELECT partition, seq, command, head, digest, images, chain
            FROM entries
            ORDER BY partition, seq
            """
        )
        ends = dict.fromkeys(range(len(stock.partitions)), ("", GENESIS, 0))
        async for number, seq_of, command, head, digest_of, images, chain_of in cursor:
            digest, chain, seq = ends[number]
            entry = Entry(seq_of, command, head, digest_of, _decode_images(images))
            assert entry.seq == seq + 1
            assert entry.digest_after(digest) == entry.digest
            chain = sha256(chain + entry_values(number, entry, decode_head(entry.head))).digest()
            assert chain == chain_of
            ends[number] = entry.digest, chain, entry.seq
        last = await stock.last_entries()
        assert {entry.partition: entry.seq for entry in last} == {
            number: seq for number, (_, _, seq) in ends.items()
        }
        cursor = await connection.execute(
            "SELECT sku, location, on_hand, reserved, allocated, version FROM levels"
        )
        recorded = {(row[0], row[1]): tuple(row[2:]) for row in await cursor.fetchall()}
        cursor = await connection.execute(
            """
            SELECT sku, location, sum(on_hand_delta)::bigint, count(*), max(version)
            FROM movements
            GROUP BY sku, location
            """
        )
        moved = {(row[0], row[1]): tuple(row[2:]) for row in await cursor.fetchall()}
    for (pair, told), level in zip(
        recorded.items(), await stock.levels(list(recorded)), strict=True
    ):
        assert level is not None
        assert told == (level.on_hand, level.reserved, level.allocated, level.version)
        assert moved[pair] == (level.on_hand, level.version, level.version)
