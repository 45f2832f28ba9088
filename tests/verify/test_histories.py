"""Whatever the script has done verifies: the script, the model and the recorder tell one story.

What cannot happen: an entry of the real script that the model does not come to by itself, out of
nothing but the entries before it. How it tries: the agreement test's histories, in which windows
pass, reservations are forgotten and the clock stands at the edges. And the other way round: one
entry of such a history told otherwise is found, though its chain was made anew.
"""

from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from redis import Redis

from atp_service.inventory.journal import RULES, Image, decode_head
from atp_service.ledger.read.raw_entries import row_of
from tests.inventory.agreement import Step, play, script_in_hand
from tests.inventory.histories import histories
from tests.ledger.forged_rows import Writer
from tests.verify.journals import chained_anew, journal, rechained, recorded, rows, stepped, walked

HISTORIES = 200
FORGERIES = 100


@settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories)
def test_every_history_of_the_script_verifies(unsynced_redis: Redis, history: list[Step]) -> None:
    play(unsynced_redis, script_in_hand(), history)
    assert walked(rows(journal(unsynced_redis))) == []


@settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories)
def test_every_history_of_the_script_goes_on_from_image_to_image(
    unsynced_redis: Redis, history: list[Step]
) -> None:
    """Transitions know nothing of commands."""
    play(unsynced_redis, script_in_hand(), history)
    assert stepped(rows(journal(unsynced_redis))) == []


@settings(
    max_examples=FORGERIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories, data=st.data())
def test_a_level_told_otherwise_does_not_go_on_though_its_chain_was_made_anew(
    unsynced_redis: Redis, history: list[Step], data: st.DataObject
) -> None:
    play(unsynced_redis, script_in_hand(), history)
    entries = journal(unsynced_redis)
    places = [
        (at, i)
        for at, entry in enumerate(entries)
        for i, (name, image) in enumerate(entry.images)
        if name[0] == "l" and image and decode_head(entry.head).kind != "repair_level"
    ]
    at, i = data.draw(st.sampled_from(places))
    images = list(entries[at].images)
    name, image = images[i]
    images[i] = (name, told_otherwise(name, image, data.draw(st.sampled_from((0, 3)))))
    forged = chained_anew(entries, at, {"images": images})
    found = stepped(rows(forged))
    assert found
    assert found[0].check == "images"
    assert found[0].seq == entries[at].seq
    assert name in found[0].subjects


@settings(
    max_examples=FORGERIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories, data=st.data())
def test_a_reservation_that_skips_a_generation_is_found_though_its_chain_was_made_anew(
    unsynced_redis: Redis, history: list[Step], data: st.DataObject
) -> None:
    play(unsynced_redis, script_in_hand(), history)
    entries = journal(unsynced_redis)
    places = [
        (at, i)
        for at, entry in enumerate(entries)
        for i, (name, image) in enumerate(entry.images)
        if name[0] == "r" and image and decode_head(entry.head).kind != "repair_reservation"
    ]
    assume(places)
    at, i = data.draw(st.sampled_from(places))
    images = list(entries[at].images)
    name, image = images[i]
    value: Any = msgspec.msgpack.decode(image or b"")
    value[1] += 2
    images[i] = (name, msgspec.msgpack.encode(value))
    forged = chained_anew(entries, at, {"images": images})
    found = stepped(rows(forged))
    assert found
    assert found[0].check == "images"
    assert found[0].seq == entries[at].seq
    assert name in found[0].subjects


@settings(
    max_examples=FORGERIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories, data=st.data())
def test_a_history_told_otherwise_is_found_though_its_chain_was_made_anew(
    unsynced_redis: Redis, history: list[Step], data: st.DataObject
) -> None:
    play(unsynced_redis, script_in_hand(), history)
    entries = journal(unsynced_redis)
    places = [
        (at, i)
        for at, entry in enumerate(entries)
        for i, (_, image) in enumerate(entry.images)
        if image
    ]
    at, i = data.draw(st.sampled_from(places))
    entry = entries[at]
    name, image = entry.images[i]
    images = list(entry.images)
    images[i] = (name, told_otherwise(name, image, data.draw(st.integers(0, 4))))
    found = walked(rows(chained_anew(entries, at, {"images": images})))
    assert found
    assert found[0].check == "model"
    assert found[0].seq == entry.seq
    assert name in found[0].subjects


def test_an_entry_of_other_rules_is_named_as_such_and_not_as_a_forgery() -> None:
    entry = Writer().sale("SKU-1")
    head = msgspec.structs.replace(decode_head(entry.head), rules=RULES - 1)
    other = chained_anew([entry], 0, {"head": msgspec.msgpack.encode(head)})
    (finding,) = walked(rows(other))
    assert finding.detail.endswith(
        f"was decided by rules {RULES - 1}; this release can only execute rules {RULES}"
    )


# Where a row has its numbers and its kind: see ledger/read/raw_entries.py.
_EPOCH, _AT, _KIND = 33, 44, 50
_DIGEST = -37


@settings(
    max_examples=FORGERIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories, data=st.data(), place=st.sampled_from((_EPOCH, _AT, _KIND, _DIGEST)))
def test_a_column_told_otherwise_is_found_though_the_chain_was_made_anew(
    unsynced_redis: Redis, history: list[Step], data: st.DataObject, place: int
) -> None:
    play(unsynced_redis, script_in_hand(), history)
    entries = journal(unsynced_redis)
    lines = recorded(entries).entries
    at = data.draw(st.integers(0, len(lines) - 1))
    changed = bytearray(lines[at])
    changed[place] ^= 1
    forged = rechained([*lines[:at], bytes(changed), *lines[at + 1 :]])
    found = stepped([row_of(line) for line in forged])
    assert entries[at].seq in {finding.seq for finding in found}


@settings(
    max_examples=FORGERIES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(history=histories, data=st.data())
def test_an_entry_that_was_taken_out_is_found_though_the_chain_was_made_anew(
    unsynced_redis: Redis, history: list[Step], data: st.DataObject
) -> None:
    play(unsynced_redis, script_in_hand(), history)
    entries = journal(unsynced_redis)
    assume(len(entries) > 1)
    lines = recorded(entries).entries
    at = data.draw(st.integers(0, len(lines) - 2))
    forged = rechained([*lines[:at], *lines[at + 1 :]])
    found = stepped([row_of(line) for line in forged])
    assert entries[at].seq in {finding.seq for finding in found}


def told_otherwise(name: str, image: Image, place: int) -> bytes:
    """One number more: of a level, of a reservation's first line, of what an order waits for."""
    value: Any = msgspec.msgpack.decode(image or b"")
    if name[0] == "l":
        value[place] += 1
    elif name[0] == "r":
        value[-1][0][3 + place] += 1
    else:
        value[1].append(["SKU-X", "DC", 1])
    return bytes(msgspec.msgpack.encode(value))
