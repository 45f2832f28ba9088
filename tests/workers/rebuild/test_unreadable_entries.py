"""Entries that somebody has made unreadable continue nothing, and harm no other."""

from typing import Any

import pytest
from msgspec import structs
from redis.asyncio import Redis

from atp_service.inventory.journal import Entry
from atp_service.ledger import Forked, Position
from atp_service.workers.rebuild.fork.capture import _batch, _continues
from atp_service.workers.rebuild.restore import _marks_of
from tests.ledger.forged_rows import Writer
from tests.retailer import Retailer, event
from tests.workers.rebuild.rebuild_setup import KEYS, looked_after, tools
from tests.workers.rebuild.test_lost_writes import opened_in, sale

START = Position(1, 0, "", b"", "")
UNREADABLE = [b"", b"\xc1", b"\x93\x01\x01\xa2\xff\xfe"]
NO_TEXT = b"\x97" + 6 * b"\x01" + b"\x81\xa6states\x81\xa2\xff\xfe\x01"  # a state's name


@pytest.mark.parametrize("head", UNREADABLE)
def test_an_entry_without_a_head_is_a_fork_s(head: bytes) -> None:
    sound = Writer().sale("SKU-1")
    unsigned = Entry(1, sound.command, head, "", sound.images)
    signed = Entry(1, sound.command, head, unsigned.digest_after(""), sound.images)
    assert _continues(sound, START)
    assert not _continues(signed, START)


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_an_entry_that_cannot_be_read_leaves_no_mark(unreadable: bytes) -> None:
    sound = Writer().sale("SKU-1")
    assert len(_marks_of(1, sound.command, sound.head, {})) == 1
    assert _marks_of(1, unreadable, sound.head, {}) == []
    assert _marks_of(1, sound.command, unreadable, {}) == []


def test_what_comes_before_an_entry_that_left_no_text_is_secured() -> None:
    writer = Writer()
    first, second = writer.sale("SKU-1"), writer.sale("SKU-1")
    damaged = _left_no_text(second, first.digest)
    batch = _batch(0, START, [first, damaged])
    assert (batch.position.seq, batch.size, len(batch.entries)) == (1, 1, 1)
    with pytest.raises(Forked, match="can't be read"):
        _batch(0, batch.position, [damaged])


def test_an_image_of_nothing_is_a_fork_s() -> None:
    sound = Writer().sale("SKU-1")
    draft = structs.replace(sound, images=[("", sound.images[0][1])])
    signed = structs.replace(draft, digest=draft.digest_after(""))
    with pytest.raises(Forked, match="an image of ''"):
        _batch(0, START, [signed])


async def test_a_sale_that_left_no_text_is_applied_again_on_what_the_ledger_has(
    shop: Retailer, redis: Redis, redis_url: str, ledger_url: str
) -> None:
    mending = tools(shop, redis_url, ledger_url)
    async with looked_after(mending, shop):
        await shop.tell(event("receipt", quantity=10))
        await shop.recorded()
    # Nobody records; the last entry is damaged and signed; then the epoch is gone.
    await shop.store.apply_all([sale("S-1", 1), sale("S-2", 2)])
    recorded, first, last = await shop.store.partition_of("SKU-1").journal.entries(0, 10)
    damaged = _left_no_text(last, first.digest)
    client: Any = redis
    await client.delete(KEYS.journal)
    for entry in (recorded, first, damaged):
        fields = {"e": entry.body(), "d": entry.digest}
        await client.xadd(KEYS.journal, fields, f"{entry.seq}-0")
    await client.hset(KEYS.meta, "digest", damaged.digest)
    await client.hdel(KEYS.meta, "epoch")
    async with looked_after(mending, shop):
        await opened_in(shop, 2)
        level = await shop.level()
        assert (level.on_hand, level.extras.states) == (10 - 1 - 2, {})
        await shop.recorded()


def _left_no_text(entry: Entry, previous: str) -> Entry:
    """The entry with a level that can't be read, signed as one that follows `previous`."""
    draft = structs.replace(entry, images=[(entry.images[0][0], NO_TEXT)])
    return structs.replace(draft, digest=draft.digest_after(previous))
