"""A partition's journal: the recorder reads its entries, and trims it when the ledger has them."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files

from atp_service.inventory.journal import Entry, entry_from_stream
from atp_service.store.connection import Reader, Wire
from atp_service.store.errors import Unavailable
from atp_service.store.keys import Keys

_TRIM = (files("atp_service.store") / "trim.lua").read_text("utf-8")


class Journal:
    """Not guarded: entries are recorded whether or not Redis may promise. Raises Unavailable."""

    def __init__(self, reader: Reader, waiting: Wire, trimming: Reader, keys: Keys) -> None:
        self._reader = reader
        self._waiting = waiting
        self._trimming = trimming
        self._key = keys.journal

    async def entries(self, after_seq: int, count: int, block_ms: int = 0) -> list[Entry]:
        """At most `count` entries after a seq, in order; waits up to `block_ms` for the first.

        Any number of callers may look; only one at a time may wait.
        """
        streams = ("STREAMS", self._key, f"{after_seq}-0")
        if not block_ms:
            (reply,) = await self._reader.ask(("XREAD", "COUNT", count, *streams))
        else:
            request = ("XREAD", "COUNT", count, "BLOCK", block_ms, *streams)
            (reply,) = await self._waiting.exchange([request], seconds=5 + block_ms / 1000)
            if isinstance(reply, Exception):
                raise Unavailable(str(reply))
        return [entry_of(*message) for message in reply[0][1]] if reply else []

    async def trim(self, through_seq: int, digest: str) -> None:
        """Trim recorded entries. The last one stays, so that its digest can be compared.

        Only if that entry has this digest: the ledger does not have an entry of another one.
        """
        await self._trimming.ask(("EVAL", _TRIM, 1, self._key, f"{through_seq}-0", digest))

    async def close(self) -> None:
        await self._waiting.close()
        await self._trimming.close()


def entry_of(message_id: bytes, fields: Sequence[bytes]) -> Entry:
    """The entry of a message. A message that is no entry has no head, and continues nothing."""
    try:
        return entry_from_stream(message_id, fields)
    except (IndexError, ValueError):
        content = b"\x1e".join(fields)
        digest = sha1(content, usedforsecurity=False).hexdigest()
        return Entry(int(message_id.partition(b"-")[0]), content, b"", digest, [])
