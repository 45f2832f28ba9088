"""The numbers that Python and the script state apart: an entry's rules and the data's format."""

from typing import Any

from atp_service.inventory.commands import Receipt
from atp_service.inventory.journal import FORMAT, RULES, decode_head
from atp_service.store import Store


async def test_a_new_partition_has_this_release_s_format_and_its_entries_have_its_rules(
    stock: Store, redis: Any
) -> None:
    await stock.apply(
        Receipt(source="wms", event_id="1", occurred_at_ms=1, sku="A", location="DC", quantity=1)
    )
    (partition,) = stock.partitions
    (entry,) = await partition.journal.entries(0, 1)
    assert decode_head(entry.head).rules == RULES
    assert int(await redis.hget(partition.keys.meta, "format")) == FORMAT
