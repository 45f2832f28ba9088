"""Entries that somebody has made unreadable continue nothing, and harm no other."""

import pytest

from atp_service.inventory.commands import encode_command
from atp_service.inventory.journal import Entry
from atp_service.ledger import Position
from atp_service.rebuild.forks import _continues
from atp_service.rebuild.seen import Seen
from tests.ledger.by_hand import Writer
from tests.rebuild.test_lost_writes import sale

START = Position(1, 0, "", b"", "")
UNREADABLE = [b"", b"\xc1", b"\x93\x01\x01\xa2\xff\xfe"]


@pytest.mark.parametrize("head", UNREADABLE)
def test_an_entry_without_a_head_is_a_fork_s(head: bytes) -> None:
    sound = Writer().sale("SKU-1")
    unsigned = Entry(1, sound.command, head, "", sound.images)
    signed = Entry(1, sound.command, head, unsigned.digest_after(""), sound.images)
    assert _continues(sound, START)
    assert not _continues(signed, START)


@pytest.mark.parametrize("command", UNREADABLE)
def test_what_cannot_be_read_has_been_seen_by_nobody(command: bytes) -> None:
    assert Seen().keys_of(1, "sale", 0, command, None) == []


def test_a_sale_whose_images_cannot_be_read_is_known_all_the_same() -> None:
    command = encode_command(sale("S-1", order_id="o-1"))
    for images in UNREADABLE:
        (key,) = Seen().keys_of(1, "sale", 0, command, images)
        assert key.startswith("e")
