"""The journal's messages as entries, whatever they are: somebody may have had a hand in it."""

from collections.abc import Sequence
from hashlib import sha1

from atp_service.inventory.journal import Entry, entry_from_stream


def entry_of(message_id: bytes, fields: Sequence[bytes]) -> Entry:
    """The entry; what is none has no head, continues nothing, and brings along what it is."""
    try:
        return entry_from_stream(message_id, fields)
    except (IndexError, ValueError):
        said = b"\x1e".join(fields)
        digest = sha1(said, usedforsecurity=False).hexdigest()
        return Entry(int(message_id.partition(b"-")[0]), said, b"", digest, [])
