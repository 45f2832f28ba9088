"""The catalog: rows in Postgres, all of them in memory in each process, told of every change.

Reading never waits for Postgres. Writing does, with one exception: what a fact shows for the first
time (`ensure`) is known at once and written when Postgres is there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, get_args

import structlog
from msgspec import DecodeError, structs
from msgspec.json import Decoder, encode
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from atp_service.catalog.aliases import claim_aliases, lock_aliases
from atp_service.catalog.records import (
    Channel,
    Complaint,
    Feed,
    FeedKind,
    Location,
    Record,
    Sku,
)
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
    """What a change came to: the record, None where there is none; whether it was done before,
    under the same key; and why it was not done, if so."""

    record: R | None
    repeated: bool = False
    complaints: Sequence[Complaint] = ()


class Shelf(Generic[R]):
    """One kind of record: what is in memory, and what Postgres has yet to be told."""

    def __init__(self, kind: type[R]) -> None:
        self.kind = kind
        self.table = kind.table
        self.decode = Decoder(kind).decode
        self.records: dict[str, R] = {}
        self.unwritten: dict[str, R] = {}

    def new(self, key: str) -> R:
        return self.kind(**{self.kind.id_field: key})


class Catalog:
    """Master data by id. What it hands out is live: look, don't write."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._postgres = ImpatientPool(pool)
        self.rows = self._postgres.rows  # for `history.py`
        self._locations = Shelf(Location)
        self._skus = Shelf(Sku)
        self._channels = Shelf(Channel)
        self._feeds = Shelf(Feed)
        self._shelves: dict[str, Shelf[Any]] = {
            shelf.table: shelf
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
        """Units the channel withholds where a level says nothing itself."""
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
        """The feeds that tell of the location, by id."""
        index = self._feeds_of_location
        if index is None:
            index = defaultdict(list)
            for feed in sorted(self.feeds.values(), key=lambda feed: feed.id):
                for place in feed.locations:
                    index[place].append(feed)
            self._feeds_of_location = index
        return index.get(location, ())

    def check_loaded(self) -> None:
        """Raises Unavailable until everything was read once: before, nobody is a stranger."""
        if not self._loaded:
            raise Unavailable("master data has not been read yet")

    # Changing.

    async def put(self, record: R, keyed: Keyed | None = None) -> Change[R]:
        """Create or replace; the record as it is now. Nothing is done where a SKU's alias is
        another's. Raises Unavailable while Postgres is away."""
        shelf: Shelf[R] = self._shelves[record.table]
        values = {"id": record.key, "document": encode(record).decode()}
        async with self._postgres.connection() as connection:
            repeated = await is_repeat(connection, keyed)
            if not repeated:
                if isinstance(record, Sku):
                    await lock_aliases(connection)
                await connection.execute(_upsert(shelf.table), values)
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
                cursor = await connection.execute(_delete(shelf.table), {"id": key})
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
        """Create what isn't known yet, with defaults.

        `feeds` are (feed, location it spoke of); the location is empty where it spoke of none.
        """
        for shelf, keys in self._shelved(skus, locations, channels):
            self._note(shelf, {key: shelf.new(key) for key in keys if key not in shelf.records})
        self._note(self._feeds, self._widened(feeds))
        if any(shelf.unwritten for shelf in self._shelves.values()):
            try:
                await self._write_unwritten()
            except Unavailable:
                log.warning("catalog_kept_in_memory", reason="Postgres is away")

    async def look_again(
        self,
        skus: Collection[str] = (),
        locations: Collection[str] = (),
        channels: Collection[str] = (),
        feeds: Collection[str] = (),
    ) -> bool:
        """Ask Postgres for what memory doesn't have: another process may just have made it.

        Whether it could be asked: who is still unknown then is a stranger, else nobody knows.
        """
        asked: list[tuple[Shelf[Any], Collection[str]]] = [
            (self._skus, skus),
            (self._locations, locations),
            (self._channels, channels),
            (self._feeds, feeds),
        ]
        for shelf, keys in asked:
            missing = [key for key in keys if key not in shelf.records]
            if missing:
                try:
                    await self._refresh(shelf, missing)
                except Unavailable:
                    return False
        return True

    async def strangers(self, kind: type[R], keys: Iterable[str]) -> Collection[str]:
        """Those of them that nobody knows; none while Postgres is away: then nobody can say."""
        shelf: Shelf[R] = self._shelves[kind.table]
        missing = [key for key in keys if key not in shelf.records]
        if missing:
            try:
                await self._refresh(shelf, missing)
            except Unavailable:
                return ()
        return [key for key in missing if key not in shelf.records]

    # Keeping up.

    async def load(self) -> None:
        """Read everything, a page after the other: a million SKUs hold nobody up. Raises
        Unavailable."""
        for shelf in self._shelves.values():
            unseen, last = set(shelf.records), ""  # what is learnt meanwhile is newer than a page
            while rows := await self._postgres.rows(_select_page(shelf.table), {"after": last}):
                self._learn(shelf, _decoded(shelf, rows))
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
            await self.load()  # what changed while nobody listened
            while True:
                changed: defaultdict[str, set[str]] = defaultdict(set)
                async for notice in connection.notifies(timeout=_TIDY_SECONDS, stop_after=1):
                    table, _, key = notice.payload.partition(":")
                    changed[table].add(key)
                for table, ids in changed.items():
                    await self._refresh(self._shelves[table], list(ids))
                await self._write_unwritten()

    async def _refresh(self, shelf: Shelf[R], keys: Sequence[str]) -> None:
        rows = await self._postgres.rows(_select(shelf.table), {"ids": list(keys)})
        for key in set(keys).difference((found for found, _ in rows), shelf.unwritten):
            self._forget(shelf, key)
        self._learn(shelf, _decoded(shelf, rows))

    def _shelved(self, skus: K, locations: K, channels: K) -> list[tuple[Shelf[Any], K]]:
        return [(self._skus, skus), (self._locations, locations), (self._channels, channels)]

    # First sights.

    def _widened(self, sightings: Iterable[tuple[str, str]]) -> dict[str, Feed]:
        """Feeds that are new, or that spoke of a location they hadn't spoken of."""
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
                await self._postgres.rows(
                    _insert_feeds() if shelf is self._feeds else _insert(shelf.table),
                    {
                        "ids": list(records),
                        "documents": [encode(record).decode() for record in records.values()],
                    },
                )
                for key, record in records.items():
                    if shelf.unwritten.get(key) is record:
                        del shelf.unwritten[key]
                # Whoever was first has the say: take what is there now.
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


def _decoded(shelf: Shelf[R], rows: Sequence[tuple[str, str]]) -> dict[str, R]:
    """The records, by id. One that can't be read – a newer version's, or somebody's by hand – is
    left as memory has it, and no other suffers for it."""
    records = {}
    for key, document in rows:
        try:
            records[key] = shelf.decode(document)
        except DecodeError as fault:
            log.error("master_data_unreadable", table=shelf.table, id=key, reason=str(fault))
    return records


def _first_seen(key: str) -> Feed:
    """A feed nobody described: its id's first part is its kind, where that is one."""
    kind = key.partition("/")[0]
    return Feed(id=key, kind=kind if kind in get_args(FeedKind) else None)  # type: ignore[arg-type]  # narrowed by get_args


def _select_page(table: str) -> sql.Composed:
    return sql.SQL(
        """
        SELECT id, document::text
        FROM {}
        WHERE id > %(after)s
        ORDER BY id
        LIMIT 2000
        """
    ).format(sql.Identifier(table))


def _select(table: str) -> sql.Composed:
    return sql.SQL("SELECT id, document::text FROM {} WHERE id = ANY(%(ids)s)").format(
        sql.Identifier(table)
    )


def _upsert(table: str) -> sql.Composed:
    return sql.SQL(
        """
        INSERT INTO {} (id, document)
        VALUES (%(id)s, %(document)s)
        ON CONFLICT (id) DO UPDATE
        SET document = EXCLUDED.document, updated_at = now()
        """
    ).format(sql.Identifier(table))


def _delete(table: str) -> sql.Composed:
    return sql.SQL("DELETE FROM {} WHERE id = %(id)s RETURNING document::text").format(
        sql.Identifier(table)
    )


def _insert(table: str) -> sql.Composed:
    return sql.SQL(
        """
        INSERT INTO {} (id, document)
        SELECT id, document::jsonb
        FROM unnest(%(ids)s::text[], %(documents)s::text[]) AS new (id, document)
        ORDER BY id
        ON CONFLICT (id) DO NOTHING
        """
    ).format(sql.Identifier(table))


def _insert_feeds() -> sql.Composed:
    """As `_insert`; a feed that is there already gains the locations it has newly spoken of."""
    return sql.SQL(
        """
        INSERT INTO feeds AS known (id, document)
        SELECT id, document::jsonb
        FROM unnest(%(ids)s::text[], %(documents)s::text[]) AS new (id, document)
        ORDER BY id
        ON CONFLICT (id) DO UPDATE
        SET document = jsonb_set(
                known.document,
                '{{locations}}',
                (
                    SELECT coalesce(jsonb_agg(DISTINCT location ORDER BY location), '[]')
                    FROM jsonb_array_elements(
                        (known.document -> 'locations') || (EXCLUDED.document -> 'locations')
                    ) AS both_of (location)
                )
            ),
            updated_at = now()
        """
    ).format()
