"""A snapshot's file, compared with the ledger line by line."""

from collections.abc import Mapping as Lookup
from pathlib import Path

import msgspec
from nats.aio.client import Client

from atp_service.adapters.mapping.config import Mapping, MappingError
from atp_service.catalog import Feed
from atp_service.ledger import Ledger
from atp_service.ledger.read.snapshots import compared, differing
from atp_service.progress import View
from atp_service.replay.run import replay
from atp_service.replay.snapshot_parts import SnapshotParts
from atp_service.replay.summary import SnapshotSummary
from atp_service.replay.wait_recorded import retried
from atp_service.store import Store

LARGEST = 20


async def compare(
    path: Path,
    mapping: Mapping,
    nats: Client,
    store: Store,
    ledger: Ledger,
    view: View,
    feeds: Lookup[str, Feed],
) -> SnapshotSummary:
    """Publish a file's rows as a snapshot and compare it; a repeat returns the same comparison.

    Raises FileError, MappingError.
    """
    for rule in mapping.rules:
        if rule.type != "snapshot":
            raise MappingError(f"rules: type {rule.type} is for `atp replay`, here it is snapshot")
    parts = SnapshotParts()
    summary = await replay(path, mapping, nats, store, ledger, view, parts)
    known = parts.as_compared(mapping.feed, feeds)
    comparison = await retried(lambda: compared(ledger, mapping.feed, known), view)
    largest = await retried(lambda: differing(ledger, mapping.feed, known, limit=LARGEST), view)
    return SnapshotSummary(
        **msgspec.structs.asdict(summary), comparison=comparison, largest=largest
    )
