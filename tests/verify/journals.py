"""Histories as the recorder would write them: what the script left in the journal, as rows."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import structs
from redis import Redis

from atp_service.inventory.journal import Entry, decode_fields, entry_from_stream
from atp_service.ledger import Batch, Position
from atp_service.ledger.position import GENESIS
from atp_service.ledger.read.raw_entries import Row, row_of
from atp_service.verify.entry_walk import Range, Walk
from atp_service.verify.fast_fold import Fold
from atp_service.verify.findings import Finding, Findings
from atp_service.verify.reexecution import Machine
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


def span(after: int = 0, *, execute: bool = False) -> Range:
    return Range(
        database_url="",
        partition=0,
        after=after,
        through=0,
        window_ms=WINDOW_MS,
        execute=execute,
    )


def folded(entries: Sequence[Entry], middle: int) -> list[Finding]:
    """What the fold finds in two ranges, of which the second begins after `middle` entries."""
    return folded_lines(recorded(entries).entries, middle)


def folded_lines(lines: Sequence[bytes], middle: int) -> list[Finding]:
    """The same of rows as they lie in Postgres."""
    first, later = Fold(span()), Fold(span(max(1, middle)))
    first.take(lines[:middle])
    later.links = structs.replace(first.links)
    later.take(lines[middle:])
    first.join(later.firsts)
    findings = Findings()
    for fold in (first, later):
        findings.take(fold.findings)
    findings.mark_repaired(first.repairs | later.repairs)
    return findings.kept


def taken_without_a_closer_look(entries: Sequence[Entry]) -> int:
    """How many entries the fold finds sound at its first look, the quick one."""
    return Fold(span())._take_sound(recorded(entries).entries)


def stepped(taken: Sequence[Row]) -> list[Finding]:
    """What the walk by images alone finds in rows."""
    walk = Walk(span())
    for row in taken:
        walk.take(row)
    walk.findings.mark_repaired(walk.repairs)
    return walk.findings.kept


def walked(taken: Sequence[Row]) -> list[Finding]:
    """What executing every command finds in rows alone."""
    walk = Walk(span(execute=True))

    def earlier(shipment_id: str, before: int) -> list[bytes]:
        """What verify asks the ledger for; there is none here."""
        told = [(row.seq, row.command) for row in taken]
        return [
            command
            for seq, command in told
            if seq < before and decode_fields(command).shipment_id == shipment_id
        ]

    assert isinstance(walk._judge, Machine)
    walk._judge._earlier = earlier  # type: ignore[assignment]  # a look-up, as the other is
    for row in taken:
        walk.take(row)
    walk.findings.mark_repaired(walk.repairs)
    return walk.findings.kept
