"""The script called directly, without the door: for rows that measure Redis alone."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from redis import Redis

from atp_service.inventory.commands import Receipt, encode_command
from atp_service.inventory.journal import FORMAT
from atp_service.store.keys import keys_of
from atp_service.store.script import production_script

_EPOCH = 1
_WINDOW_MS = 86_400_000


class Script:
    """The production script on an empty Redis, which this makes ready."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keys = keys_of(0)
        now_ms = time.time_ns() // 1_000_000
        begun = {
            "format": FORMAT,
            "epoch": _EPOCH,
            "seq": 0,
            "digest": "",
            "time": 0,
            "rotated_at": now_ms,
        }
        for name, value in begun.items():
            redis.hset(self._keys.meta, name, str(value))
        self._sha = redis.script_load(production_script().source)

    def run(self, commands: Iterable[bytes], size: int, calls: int) -> None:
        """Apply commands in batches of `size`, so many calls in a pipeline."""
        left = iter(commands)
        while group := list(islice(left, size * calls)):
            pipeline = self._redis.pipeline(transaction=False)
            for first in range(0, len(group), size):
                batch = group[first : first + size]
                pipeline.evalsha(
                    self._sha, len(self._keys), *self._keys, _EPOCH, FORMAT, 0, _WINDOW_MS, *batch
                )
            for outcomes in pipeline.execute():
                _check(outcomes)

    def trim(self) -> None:
        """As after recording: the journal is let go of."""
        self._redis.xtrim(self._keys.journal, maxlen=0, approximate=False)

    def forget_seen(self) -> None:
        """As when the dedupe window has passed."""
        self._redis.delete(self._keys.seen, self._keys.seen_before)

    @property
    def stock(self) -> str:
        return self._keys.stock


def received(levels: Sequence[tuple[str, str]], quantity: int = 1_000_000) -> Iterator[bytes]:
    """A receipt for each level."""
    now_ms = time.time_ns() // 1_000_000
    for number, (sku, location) in enumerate(levels):
        yield encode_command(
            Receipt(
                source="wms/dc-1",
                event_id=f"receipt-{number}",
                occurred_at_ms=now_ms,
                sku=sku,
                location=location,
                quantity=quantity,
            )
        )


def _check(outcomes: Sequence[Sequence[bytes]]) -> None:
    refused = [outcome for outcome in outcomes if outcome[0] in (b"short", b"faulted", b"again")]
    if refused:
        raise RuntimeError(f"the script refused: {refused[0]!r}")
