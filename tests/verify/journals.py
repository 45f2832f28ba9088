"""Histories as the recorder would write them: what the script left in the journal, as rows."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
from redis import Redis

from atp_service.inventory.journal import Entry, entry_from_stream
from atp_service.ledger import Batch, Position
from atp_service.ledger.position import GENESIS
from atp_service.ledger.read.raw_entries import Row, row_of
from atp_service.verify.entry_walk import EntryWalk
from atp_service.verify.findings import Finding
from tests.inventory.agreement import KEYS, WINDOW_MS

EPOCH = 1


def journal(redis: Redis) -> list[Entry]:
    """All entries of the partition that was played."""
    messages: Any = redis.xrange(KEYS.journal, "-", "+")
    return [
        entry_from_stream(name, [x for pair in fields.items() for x in pair])
        for name, fields in messages
    ]


def recorded(entries: Sequence[Entry]) -> Batch:
    """What the recorder makes of them."""
    batch = Batch(0, Position(EPOCH, 0, "", GENESIS, "the-redis"))
    for entry in entries:
        batch.add(entry)
    return batch


def rows(entries: Sequence[Entry]) -> list[Row]:
    return [row_of(row) for row in recorded(entries).entries]


def chained_anew(entries: Sequence[Entry], place: int, change: dict[str, Any]) -> list[Entry]:
    """The history with one entry told otherwise, and every digest after it made to fit."""
    forged, digest = [], ""
    for at, entry in enumerate(entries):
        told = msgspec.structs.replace(entry, **change) if at == place else entry
        digest = told.digest_after(digest)
        forged.append(msgspec.structs.replace(told, digest=digest))
    return forged


def rechained(lines: Sequence[bytes]) -> list[bytes]:
    """Rows whose chain alone was made anew, whatever else does not fit."""
    made, chain = [], GENESIS
    for line in lines:
        hashed = line[:-36]
        chain = sha256(chain + hashed).digest()
        made.append(line[:-32] + chain)
    return made


def stepped(taken: Sequence[Row]) -> list[Finding]:
    """What the walk by images alone finds in rows."""
    return _found(EntryWalk(0, WINDOW_MS, execute=False), taken)


def walked(taken: Sequence[Row]) -> list[Finding]:
    """What executing every command finds in rows alone."""
    return _found(EntryWalk(0, WINDOW_MS, execute=True), taken)


def _found(walk: EntryWalk, taken: Sequence[Row]) -> list[Finding]:
    for row in taken:
        walk.take(row)
    walk.findings.mark_repaired(walk.repairs)
    return walk.findings.first
