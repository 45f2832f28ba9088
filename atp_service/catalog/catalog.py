"""The catalog: rows in Postgres, all of them in memory in each process, which follows each change.

Reading never waits for Postgres. Writing does, with one exception: a name that a fact shows for the
first time (`ensure`) is known at once and written when Postgres is there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, get_args

import structlog
from msgspec import structs
from msgspec.json import encode
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from atp_service.catalog.aliases import claim_aliases, lock_aliases
from atp_service.catalog.records import Channel, Complaint, Feed, FeedKind, Location, Record, Sku
from atp_service.catalog.shelf import ADD_LOCATIONS, Shelf
from atp_service.postgres.idempotency import Keyed, is_repeat, keep, kept_result
from atp_service.postgres.pool import ImpatientPool
from atp_service.postgres.unavailable import Unavailable, unavailable_when_away

log = structlog.get_logger()

R = TypeVar("R", bound=Record)
K = TypeVar("K", bound=Iterable[str])

_RETRY_SECONDS = 1.0
_TIDY_SECONDS = 5.0

GTIN = "gtin"  # among the sources of aliases, the one that all of them share


class Change(NamedTuple, Generic[R]):
    """The outcome of a change: the record, None if there is none.

    `repeated`: it was done before, under the same key. `complaints`: why it was not done.
    """

    record: R | None
    repeated: bool = False
    complaints: Sequence[Complaint] = ()


class Catalog:
    """Master data by id. The records that it returns are live: look, don't write."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._postgres = ImpatientPool(pool)
        self.rows = self._postgres.rows  # for `history.py`
        self._locations = Shelf(Location)
        self._skus = Shelf(Sku)
        self._channels = Shelf(Channel)
        # A feed that is known gains the locations that it reports for the first time.
        self._feeds = Shelf(Feed, ADD_LOCATIONS)
        self._shelves: dict[str, Shelf[Any]] = {
            shelf.kind.table: shelf
            for shelf in (self._locations, self._skus, self._channels, self._feeds)
        }
        self.locations = self._locations.records
        self.skus = self._skus.records
        self.channels = self._channels.records
        self.feeds = self._feeds.records
        self._loaded = False
        self._feeds_of_location: dict[str, list[Feed]] | None = None
        self._sku_by_alias: dict[tuple[str, str], str] = {}

    # Reading.

    def safety_stock(self, channel: str) -> int:
        """Units the channel withholds if a level has no safety stock of its own."""
        known = self.channels.get(channel)
        return 0 if known is None else known.safety_stock

    def sku_by_alias(self, source: str, alias: str) -> Sku | None:
        """The SKU that the source calls so, or whose GTIN it is."""
        for namer in (source, GTIN):
            sku = self.skus.get(self._sku_by_alias.get((namer, alias), ""))
            if sku is not None and alias in sku.aliases.get(namer, ()):
                return sku
        return None

    def feeds_of(self, location: str) -> Sequence[Feed]:
        """The feeds that report the location, by id."""
        index = self._feeds_of_location
        if index is None:
            index = defaultdict(list)
            for feed in sorted(self.feeds.values(), key=lambda feed: feed.id):
                for place in feed.locations:
                    index[place].append(feed)
            self._feeds_of_location = index
        return index.get(location, ())

    def check_loaded(self) -> None:
        """Raises Unavailable until everything was read once: before, no name is unknown."""
        if not self._loaded:
            raise Unavailable("master data has not been read yet")

    # Changing.

    async def put(self, record: R, keyed: Keyed | None = None) -> Change[R]:
        """Create or replace; the record as it is now. Nothing is done if a SKU's alias is
        another's. Raises Unavailable while Postgres is away."""
        shelf: Shelf[R] = self._shelves[record.table]
        values = {"id": record.key, "document": encode(record).decode()}
        async with self._postgres.connection() as connection:
            repeated = await is_repeat(connection, keyed)
            if not repeated:
                if isinstance(record, Sku):
                    await lock_aliases(connection)
                await connection.execute(shelf.upsert, values)
                if isinstance(record, Sku):
                    complaints = list(record.taken(await claim_aliases(connection, record)))
                    if complaints:
                        await connection.rollback()
                        return Change(None, complaints=complaints)
        if repeated:
            await self._refresh(shelf, [record.key])
            return Change(shelf.records.get(record.key), repeated=True)
        shelf.unwritten.pop(record.key, None)
        self._learn(shelf, {record.key: record})
        return Change(record)

    async def delete(self, kind: type[R], key: str, keyed: Keyed | None = None) -> Change[R]:
        """What was deleted, by this call or by the one it repeats; raises Unavailable."""
        shelf: Shelf[R] = self._shelves[kind.table]
        async with self._postgres.connection() as connection:
            repeated = await is_repeat(connection, keyed)
            if repeated:
                document = await kept_result(connection, keyed)
            else:
                if kind is Sku:
                    await lock_aliases(connection)
                cursor = await connection.execute(shelf.delete, {"id": key})
                row = await cursor.fetchone()
                document = row[0] if row else None
                if document is None:
                    await connection.rollback()  # nothing was done: a later one is no repeat
                else:
                    await keep(connection, keyed, document)
        if not repeated:
            shelf.unwritten.pop(key, None)
            self._forget(shelf, key)
        return Change(None if document is None else shelf.decode(document), repeated)

    async def ensure(
        self,
        *,
        skus: Iterable[str] = (),
        locations: Iterable[str] = (),
        channels: Iterable[str] = (),
        feeds: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Create the names that are not known yet, with defaults.

        `feeds` are (feed, location that it reported); the location is empty if it reported none.
        """
        for shelf, keys in self._shelved(skus, locations, channels):
            self._note(shelf, {key: shelf.new(key) for key in shelf.missing(keys)})
        self._note(self._feeds, self._widened(feeds))
        if any(shelf.unwritten for shelf in self._shelves.values()):
            try:
                await self._write_unwritten()
            except Unavailable:
                log.warning("catalog_kept_in_memory", reason="Postgres is away")

    async def look_up(
        self,
        skus: Collection[str] = (),
        locations: Collection[str] = (),
        channels: Collection[str] = (),
        feeds: Collection[str] = (),
    ) -> bool:
        """Ask Postgres for names that memory does not have: another process may have made them.

        False if Postgres is away. Else a name that memory does not have now is unknown.
        """
        asked = [*self._shelved(skus, locations, channels), (self._feeds, feeds)]
        for shelf, keys in asked:
            if missing := shelf.missing(keys):
                try:
                    await self._refresh(shelf, missing)
                except Unavailable:
                    return False
        return True

    # Keeping up.

    async def load(self) -> None:
        """Read everything, page by page: a million SKUs hold up no call. Raises Unavailable."""
        for shelf in self._shelves.values():
            unseen, last = set(shelf.records), ""  # what is learnt meanwhile is newer than a page
            while rows := await self._postgres.rows(shelf.select_page, {"after": last}):
                self._learn(shelf, shelf.decoded(rows))
                unseen.difference_update(key for key, _ in rows)
                last = rows[-1][0]
            for key in unseen.difference(shelf.unwritten):
                self._forget(shelf, key)
        self._loaded = True

    async def follow(self) -> None:
        """Keep memory true for as long as it runs; memory stays while Postgres is away."""
        while True:
            try:
                with unavailable_when_away():
                    await self._follow_connected()
            except Unavailable as error:
                log.warning("catalog_unfollowed", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow_connected(self) -> None:
        connection = await AsyncConnection.connect(self._postgres.url, autocommit=True)
        async with connection:
            await connection.execute("LISTEN atp_catalog")
            await self._write_unwritten()
            await self.load()  # changes that came before this process listened
            while True:
                changed: defaultdict[str, set[str]] = defaultdict(set)
                async for notice in connection.notifies(timeout=_TIDY_SECONDS, stop_after=1):
                    table, _, key = notice.payload.partition(":")
                    changed[table].add(key)
                for table, ids in changed.items():
                    await self._refresh(self._shelves[table], list(ids))
                await self._write_unwritten()

    async def _refresh(self, shelf: Shelf[R], keys: Sequence[str]) -> None:
        rows = await self._postgres.rows(shelf.select, {"ids": list(keys)})
        for key in set(keys).difference((found for found, _ in rows), shelf.unwritten):
            self._forget(shelf, key)
        self._learn(shelf, shelf.decoded(rows))

    def _shelved(self, skus: K, locations: K, channels: K) -> list[tuple[Shelf[Any], K]]:
        return [(self._skus, skus), (self._locations, locations), (self._channels, channels)]

    # First sights.

    def _widened(self, sightings: Iterable[tuple[str, str]]) -> dict[str, Feed]:
        """Feeds that are new, or that report a location for the first time."""
        widened: dict[str, Feed] = {}
        for key, location in sightings:
            feed = widened.get(key) or self.feeds.get(key) or _first_seen(key)
            if not location and key not in self.feeds:
                widened[key] = feed
            elif location and location not in feed.locations:
                widened[key] = structs.replace(feed, locations=[*feed.locations, location])
        return widened

    def _note(self, shelf: Shelf[R], records: dict[str, R]) -> None:
        if records:
            shelf.unwritten.update(records)
            self._learn(shelf, records)

    async def _write_unwritten(self) -> None:
        for shelf in self._shelves.values():
            while shelf.unwritten:
                records = dict(shelf.unwritten)
                documents = [encode(record).decode() for record in records.values()]
                values = {"ids": list(records), "documents": documents}
                await self._postgres.rows(shelf.insert, values)
                for key, record in records.items():
                    if shelf.unwritten.get(key) is record:
                        del shelf.unwritten[key]
                # The first process to write has the say: take the row as it is now.
                await self._refresh(shelf, [*records])

    # Memory.

    def _learn(self, shelf: Shelf[R], records: dict[str, R]) -> None:
        shelf.records.update(records)
        self._feeds_of_location = None
        if shelf is self._skus:
            for key in records:
                for source, aliases in self.skus[key].aliases.items():
                    self._sku_by_alias.update(((source, alias), key) for alias in aliases)

    def _forget(self, shelf: Shelf[R], key: str) -> None:
        shelf.records.pop(key, None)
        self._feeds_of_location = None


def _first_seen(key: str) -> Feed:
    """A feed without a description: the first part of its id is its kind, if it is one."""
    kind = key.partition("/")[0]
    return Feed(id=key, kind=kind if kind in get_args(FeedKind) else None)  # type: ignore[arg-type]  # narrowed by get_args
