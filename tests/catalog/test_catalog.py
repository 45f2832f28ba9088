"""Master data in every process: changes spread, first sights last, unknown names are looked up."""

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from atp_service.catalog import Catalog, Channel, Feed, Location, Sku
from atp_service.postgres import Unavailable
from tests.catalog.conftest import until


async def test_what_one_process_changes_the_others_know(catalog: Catalog, other: Catalog) -> None:
    await catalog.put(Channel(id="web", safety_stock=3))
    await until(lambda: other.safety_stock("web") == 3)
    await catalog.put(Channel(id="web", safety_stock=5))
    await until(lambda: other.safety_stock("web") == 5)
    assert (await catalog.delete(Channel, "web")).record == Channel(id="web", safety_stock=5)
    await until(lambda: "web" not in other.channels)
    assert (await catalog.delete(Channel, "web")).record is None


async def test_a_feed_is_found_by_its_locations(catalog: Catalog) -> None:
    await catalog.put(Feed(id="wms/dc-1", locations=["DC-1"]))
    await catalog.put(Feed(id="erp", locations=["DC-1", "store-1"]))
    assert [feed.id for feed in catalog.feeds_of("DC-1")] == ["erp", "wms/dc-1"]
    assert [feed.id for feed in catalog.feeds_of("store-1")] == ["erp"]
    await catalog.delete(Feed, "erp")
    assert list(catalog.feeds_of("store-1")) == []


async def test_first_sights_are_created_once_with_defaults(
    catalog: Catalog, other: Catalog
) -> None:
    await catalog.ensure(
        skus=["SKU-1"], locations=["DC-1"], channels=["web"], feeds=[("pos/store-1", "store-1")]
    )
    await until(lambda: "pos/store-1" in other.feeds and "SKU-1" in other.skus)
    assert other.skus["SKU-1"] == Sku(sku="SKU-1")
    assert other.locations["DC-1"].channels is None
    assert other.feeds["pos/store-1"].kind == "pos"
    assert other.feeds["pos/store-1"].locations == ["store-1"]


async def test_a_feed_gains_the_locations_it_speaks_of(catalog: Catalog, other: Catalog) -> None:
    await catalog.put(Feed(id="erp", locations=["DC-1"], freshness_seconds=60))
    await until(lambda: "erp" in other.feeds)
    await catalog.ensure(feeds=[("erp", "store-1")])
    await other.ensure(feeds=[("erp", "store-2")])
    await until(lambda: len(other.feeds["erp"].locations) == 3)
    assert other.feeds["erp"].freshness_seconds == 60


async def test_a_first_sight_does_not_undo_what_somebody_described(
    catalog: Catalog, pool: AsyncConnectionPool[Any]
) -> None:
    described = Sku(sku="MUG", name="A mug", units={"CASE": 12})
    await Catalog(pool).put(described)
    await catalog.ensure(skus=["MUG"])
    assert catalog.skus["MUG"] == described


async def test_a_stranger_is_looked_for_once_more(
    catalog: Catalog, pool: AsyncConnectionPool[Any]
) -> None:
    await Catalog(pool).put(Sku(sku="NEW"))
    await catalog.look_up(skus=["NEW", "NOPE"])
    assert "NEW" in catalog.skus
    assert "NOPE" not in catalog.skus


async def test_without_postgres_first_sights_are_known_and_nothing_else_changes() -> None:
    nowhere: AsyncConnectionPool[Any] = AsyncConnectionPool(
        "host=/nowhere dbname=none user=none", min_size=0, max_size=1, open=False
    )
    async with nowhere:
        catalog = Catalog(nowhere)
        await catalog.ensure(skus=["SKU-9"], locations=["DC-9"])
        assert "SKU-9" in catalog.skus
        await catalog.look_up(skus=["NOPE"])
        with pytest.raises(Unavailable):
            await catalog.put(Location(id="DC-9"))
        with pytest.raises(Unavailable):
            catalog.check_loaded()


async def test_more_than_a_page_is_read_and_what_is_gone_is_forgotten(
    catalog: Catalog, pool: AsyncConnectionPool[Any]
) -> None:
    names = [f"SKU-{n}" for n in range(4_500)]
    await Catalog(pool).ensure(skus=names)
    await catalog.load()
    assert catalog.skus.keys() == set(names)
    for gone in ("SKU-0", "SKU-4499"):
        await Catalog(pool).delete(Sku, gone)
    await catalog.load()
    assert catalog.skus.keys() == set(names) - {"SKU-0", "SKU-4499"}


async def test_a_record_that_cannot_be_read_is_left_as_it_was_and_harms_no_other(
    catalog: Catalog, other: Catalog, pool: AsyncConnectionPool[Any]
) -> None:
    await catalog.put(Channel(id="web", safety_stock=3))
    await until(lambda: "web" in other.channels)
    async with pool.connection() as connection:
        await connection.execute('UPDATE channels SET document = \'{"of": "a newer version"}\'')
    await catalog.put(Channel(id="store"))
    await until(lambda: "store" in other.channels)
    assert other.safety_stock("web") == 3
    await catalog.load()
    assert catalog.channels.keys() == {"web", "store"}


async def test_following_goes_on_after_its_connection_was_cut(
    catalog: Catalog, other: Catalog, superuser_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as admin:
        await admin.execute(
            sql.SQL(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_stat_activity
                WHERE query ILIKE 'LISTEN%' AND datname = current_database()
                """
            )
        )
    await catalog.put(Channel(id="late"))
    await until(lambda: "late" in other.channels)


@pytest.mark.parametrize(
    ("quantity", "unit", "units"),
    [
        (3, None, 3),
        (3, "EA", 3),
        (3, "CASE", 36),
        (4, "HALF", 2),
        (3, "HALF", None),
        (3, "THIRD", 1),
        (8, "KG", 2),
        (1, "PALLET", None),
    ],
)
def test_units_convert_exactly_or_not_at_all(
    quantity: int, unit: str | None, units: int | None
) -> None:
    sku = Sku(sku="MUG", units={"CASE": 12, "HALF": "1/2", "THIRD": "1/3", "KG": "0.25"})
    assert sku.in_base_units(quantity, unit) == units
