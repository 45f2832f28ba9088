"""Levels, and their places in their SKUs' lists of locations."""

from collections.abc import Collection, Sequence
from functools import partial

from msgspec import structs

from atp_service.inventory.commands import RepairLevel
from atp_service.inventory.stock import SEPARATOR, StockLevel, level_field, split_field
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.read.as_of_entry import Pair
from atp_service.ledger.read.unexplained_levels import Unexplained, unexplained
from atp_service.ledger.reconciliations import Drift
from atp_service.workers.reconcile.raw_values import read_level, read_locations, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference


async def compare_recorded(run: Comparison) -> None:
    """All that Redis must have by the ledger, in the order of names."""
    scope, page = run.scope, [("", "", b"")]
    sku, locations = "", list[str]()  # a SKU's list is compared when all its locations are read
    while page:
        page = await as_of_entry.levels_after(
            run.ledger, run.number, page[-1][:2], PAGE, scope.skus, scope.locations
        )
        complete: dict[str, list[str]] = {}
        for of_sku, location, _ in page:
            if of_sku != sku:
                complete[sku], sku, locations = locations, of_sku, []
            locations.append(location)
        if not page:
            complete[sku] = locations
        complete.pop("", None)
        names = [level_field(of_sku, location) for of_sku, location, _ in page]
        values = await run.walk.values("stock", [*names, *complete])
        suspects = [
            (of_sku, location)
            for (of_sku, location, image), value in zip(page, values, strict=False)
            if value != image
        ]
        for (of_sku, known), value in zip(complete.items(), values[len(page) :], strict=True):
            suspects += [(of_sku, location) for location in _misplaced(run, value, known)]
        await run.resolve(suspects, partial(_examine, run))
        run.known_stock.add(names)
        run.known_stock.add(complete)
        run.report.compared.levels += len(page)
        await run.rest()


async def compare_kept(run: Comparison) -> None:
    """All that Redis has: the ledger may have no such level or SKU."""
    async for named in run.named("level", run.walk.scan("stock", PAGE)):
        names = [name for name in named if name not in run.known_stock]
        suspects: list[Pair] = []
        for name in await as_of_entry.unknown_in_stock(run.ledger, run.number, names):
            if SEPARATOR in name:
                suspects.append(split_field(name))
            else:
                # A list that names no location has to go all the same.
                suspects += [(name, place) for place in set(read_locations(named[name]) or [""])]
        suspects = [pair for pair in suspects if _is_asked(run, *pair)]
        await run.resolve(suspects, partial(_examine, run))


async def compare_explained(run: Comparison) -> None:
    """The ledger by itself: a level that was changed in Redis before a command came over it."""
    found: dict[Pair, Unexplained] = {}

    async def examine(pairs: Sequence[Pair]) -> list[tuple[Pair, Difference]]:
        if any(pair not in found for pair in pairs):
            found.update(await _unexplained(run))
        odd = [(pair, found.pop(pair)) for pair in pairs if pair in found]
        return [(pair, _level_difference(pair, o.level, o.right)) for pair, o in odd]

    found = await _unexplained(run)
    await run.resolve(list(found), examine)


async def _unexplained(run: Comparison) -> dict[Pair, Unexplained]:
    # A repair that is not recorded yet would be made once more.
    await run.moment()
    odd = await unexplained(run.ledger, run.number, run.rest)
    return {(o.sku, o.location): o for o in odd if _is_asked(run, o.sku, o.location)}


def _level_difference(
    pair: Pair,
    found: StockLevel | None,
    right: StockLevel | None,
    value: bytes | None = None,
    image: bytes | None = None,
) -> Difference:
    sku, location = pair
    seen, expected = shown(value, found), shown(image, right)
    return Difference(
        Drift(kind="level", sku=sku, location=location, found=seen, expected=expected),
        RepairLevel(sku=sku, location=location, found=found, right=right),
    )


async def _examine(run: Comparison, pairs: Sequence[Pair]) -> list[tuple[Pair, Difference]]:
    skus = list(dict.fromkeys(sku for sku, _ in pairs))
    names = [level_field(sku, location) for sku, location in pairs]
    moment = await run.moment(stock=[*names, *skus])
    lists = dict(zip(skus, moment.stock[len(pairs) :], strict=True))
    images = await as_of_entry.levels_as_of(run.ledger, run.number, pairs, moment.seq)
    return [
        (pair, difference)
        for pair, value, image in zip(pairs, moment.stock, images, strict=False)
        if (difference := _difference(pair, value, image, lists[pair[0]])) is not None
    ]


def _difference(
    pair: Pair, value: bytes | None, image: bytes | None, listing: bytes | None
) -> Difference | None:
    difference = _level_difference(pair, read_level(value), read_level(image), value, image)
    if value != image:
        return difference
    listed, expected = _times_listed(listing, pair[1]), int(image is not None)
    if listed == expected:
        return None
    found, right = {"listed": listed}, {"listed": expected}
    drift = structs.replace(difference.drift, kind="locations", found=found, expected=right)
    return Difference(drift, difference.command)


def _times_listed(listing: bytes | None, location: str) -> int | None:
    """How often the SKU's list has the location; None if the list can't be read, or is empty: the
    script writes no empty list."""
    known = read_locations(listing)
    return None if known is None or (not known and listing is not None) else known.count(location)


def _misplaced(
    run: Comparison, listing: bytes | None, expected: Collection[str]
) -> Collection[str]:
    """Locations that are not listed exactly as often as they should be."""
    listed = read_locations(listing)
    if listed is None:
        return expected
    if listed == expected:
        return ()
    return [
        location
        for location in {*listed, *expected}
        if listed.count(location) != (location in expected) and _is_asked(run, None, location)
    ]


def _is_asked(run: Comparison, sku: str | None, location: str) -> bool:
    scope = run.scope
    return (not scope.skus or sku is None or sku in scope.skus) and (
        not scope.locations or location in scope.locations
    )
