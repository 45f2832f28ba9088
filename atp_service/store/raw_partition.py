"""A partition read and filled past its guard: for a fence and for a rebuild."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import NoScriptError, ResponseError

from atp_service.inventory.journal import FORMAT, Entry
from atp_service.store.connection import Request, Wire
from atp_service.store.epoch_guard import (
    SOON_SECONDS,
    EpochGuard,
    P,
    RedisHeader,
    compare,
    read_header,
)
from atp_service.store.errors import Fenced, Unavailable
from atp_service.store.journal import entry_of
from atp_service.store.keys import Keys, keys_of
from atp_service.store.script import Script

PAGE: Final = 1_000
PAIRS_AT_ONCE: Final = 500  # per call: a call stays within a few ms
BYTES_IN_FLIGHT: Final = 1 << 20  # on the way to Redis while the next are being read
_SECONDS: Final = 60.0  # a server that is just emptying itself answers late
_LAST: Final = 2**64 - 1  # the second half of a message's id, at most

Pairs = list[bytes]
"""Field and value in turn, or score and member."""


class Superseded(Exception):
    """Another rebuild has begun since, or another Redis answers: this one writes nothing more."""


class Site:
    """One partition of one Redis, whatever its state. Raises Unavailable."""

    def __init__(self, redis_url: str, *, name: str, partition: int) -> None:
        self.keys = keys_of(partition)
        self._wire = Wire(redis_url, name=f"{name}-site", on_connect=self._on_connect)
        self._script = Script((files("atp_service.store") / "fill.lua").read_text("utf-8"))

        self._run_id: str | None = None

    async def header(self) -> RedisHeader:
        return await read_header(self._wire, self.keys)

    async def stay(self) -> str:
        """Talk to no other Redis from now on than to the one that answers; its run_id."""
        self._run_id = (await self.header()).run_id
        return self._run_id

    async def _on_connect(self, wire: Wire) -> None:
        if self._run_id is not None and (await read_header(wire, self.keys)).run_id != self._run_id:
            raise Superseded("another Redis answers than the one that is being rebuilt")

    async def compare(
        self, position_now: Callable[[], Awaitable[P | None]]
    ) -> tuple[RedisHeader, P | None]:
        """This Redis's header and the ledger's position before it. Raises Fenced unless this Redis
        continues the ledger."""
        return await compare(self._wire, self.keys, await position_now(), position_now)

    async def fence(self, epoch: int) -> bool:
        """Take the epoch away if it is still this one: no script call succeeds from then on."""
        (fenced,) = await self.act("fence", "", epoch)
        return bool(fenced)

    async def journal(self, after_seq: int) -> list[Entry]:
        """The next entries, in order; none at the end."""
        # A hand may have added some under the same number.
        request = ("XRANGE", self.keys.journal, f"({after_seq}-{_LAST}", "+", "COUNT", PAGE)
        (reply,) = await self._wire.exchange([request])
        if not isinstance(reply, list):
            raise Unavailable(str(reply))
        return [entry_of(*message) for message in reply]

    async def now_ms(self) -> int:
        """Redis's clock."""
        ((seconds, micros),) = await self._wire.exchange([("TIME",)])
        return int(seconds) * 1000 + int(micros) // 1000

    def call(self, action: str, token: str, *arguments: Any) -> Request:
        """A request that `exchange` takes."""
        keys = self.keys
        return ("EVALSHA", self._script.sha, len(keys), *keys, action, token, *arguments)

    async def act(self, action: str, token: str, *arguments: Any) -> list[Any]:
        """One action of the fill script. Raises Superseded too."""
        return await self.exchange([self.call(action, token, *arguments)])

    async def exchange(self, requests: Sequence[Request]) -> list[Any]:
        """The replies, all of them good."""
        replies = await self._wire.exchange(requests, seconds=_SECONDS)
        if isinstance(replies[0], NoScriptError):
            await self._wire.exchange([("SCRIPT", "LOAD", self._script.source)])
            replies = await self._wire.exchange(requests, seconds=_SECONDS)
        for reply in replies:
            if isinstance(reply, ResponseError):
                reason = str(reply)
                raise Superseded(reason) if reason.startswith("FENCED") else Unavailable(reason)
        return replies

    async def close(self) -> None:
        await self._wire.close()


class Fill:
    """Fills an emptied partition on behalf of one rebuild. What is put goes out in the background;
    a fault shows with a later call."""

    def __init__(self, site: Site, epoch: int, nonce: str) -> None:
        self.token = f"{epoch}:{nonce}"
        self.run_id = ""
        self._site = site
        self._epoch = epoch
        self._requests: list[Request] = []
        self._bytes = 0
        self._sending: asyncio.Task[list[Any]] | None = None

    async def begin(self) -> None:
        """Empty the partition. What is filled is this one Redis: another may lack a part of it."""
        self.run_id = await self._site.stay()
        await self._site.act("begin", self.token)

    async def put(self, key: str, pairs: Pairs) -> None:
        """Fields of a hash."""
        await self._put("hash", pairs, key)

    async def put_deadlines(self, pairs: Pairs) -> None:
        """Scores and members."""
        await self._put("deadlines", pairs)

    async def put_entry(self, entry: Entry) -> None:
        """The last recorded entry, as it was: what comes next continues it."""
        fields = ("e", entry.body(), "d", entry.digest)
        self._requests.append(self._site.call("entry", self.token, f"{entry.seq}-0", *fields))

    async def _put(self, action: str, pairs: Pairs, *key: str) -> None:
        for start in range(0, len(pairs), 2 * PAIRS_AT_ONCE):
            part = pairs[start : start + 2 * PAIRS_AT_ONCE]
            self._requests.append(self._site.call(action, self.token, *key, *part))
            self._bytes += sum(map(len, part))
            if self._bytes > BYTES_IN_FLIGHT:
                await self._send()

    async def _send(self) -> None:
        """The next requests go out when those before them are answered."""
        if self._sending is not None:
            await self._sending
            self._sending = None
        requests, self._requests, self._bytes = self._requests, [], 0
        if requests:
            self._sending = asyncio.create_task(self._site.exchange(requests))

    async def finish(self, *, seq: int, digest: str, at_ms: int, rotated_at_ms: int) -> None:
        """All is in. The new epoch begins, for this rebuild alone until `open`."""
        await self._send()
        meta = {
            "format": FORMAT,
            "seq": seq,
            "digest": digest,
            "time": at_ms,
            "rotated_at": rotated_at_ms,
            "epoch": self._epoch,
        }
        pairs = [str(part).encode() for pair in meta.items() for part in pair]
        await self.put(self._site.keys.meta, pairs)
        await self._send()
        await self._send()

    async def open(self) -> None:
        """Let everybody in."""
        await self._site.act("open", self.token)

    async def stop(self) -> None:
        """Nothing more is sent; what is under way is let end."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)


class RebuildGuard(EpochGuard):
    """Lets in one rebuild alone, in its epoch and on the Redis that it has filled, until it opens
    the partition to all."""

    def __init__(self, partition: int, keys: Keys, epoch: int, fill: Fill) -> None:
        super().__init__(partition, keys)
        self._only = (epoch, fill.token, fill.run_id)

    async def _verify_epoch(self, wire: Any) -> None:
        header = await read_header(wire, self._keys)
        if (header.epoch, header.rebuilding, header.run_id) != self._only:
            reason = "another rebuild has begun since, or another Redis answers"
            raise Fenced(reason, SOON_SECONDS, cause="lost")
        self.epoch = self._only[0]
