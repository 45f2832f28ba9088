"""Levels, and their places in their SKUs' lists of locations."""

from collections.abc import Collection, Iterator, Sequence

from atp_service.inventory.commands import RepairLevel
from atp_service.inventory.stock import SEPARATOR, level_field, split_field
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.read.as_of_entry import Pair
from atp_service.ledger.read.unexplained_levels import Unexplained, unexplained
from atp_service.ledger.reconciliations import Drift
from atp_service.workers.reconcile.raw_values import level_in, locations_in, name_in, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference, unnameable


async def compare(run: Comparison) -> None:
    """All that the ledger has, in the order of names."""
    after: Pair = ("", "")
    sku, locations = "", list[str]()  # the list of a SKU is compared when all of it has come by
    while True:
        scope = run.scope
        page = await as_of_entry.levels_after(
            run.ledger,
            run.number,
            after,
            PAGE,
            skus=scope.skus,
            locations=scope.locations,
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
        doubtful = [
            (of_sku, location)
            for (of_sku, location, image), value in zip(page, values, strict=False)
            if value != image
        ]
        for (of_sku, known), value in zip(complete.items(), values[len(page) :], strict=True):
            doubtful += [(of_sku, place) for place in _misplaced(run, value, known)]
        await run.settle(doubtful, lambda pairs: _look(run, pairs))
        run.known_stock.add(names)
        run.known_stock.add(complete)
        run.report.compared.levels += len(page)
        await run.rest()
        if not page:
            return
        after = page[-1][:2]


async def compare_back(run: Comparison) -> None:
    """What Redis has and the ledger doesn't."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan("stock", cursor, PAGE)
        named: dict[str, bytes] = {}
        for raw, value in found:
            name = name_in(raw)
            if name is None:
                await run.settle([raw], unnameable("level"))
            elif name not in run.known_stock:
                named[name] = value
        doubtful: list[Pair] = []
        for name in await as_of_entry.unknown_in_stock(run.ledger, run.number, list(named)):
            if SEPARATOR in name:
                doubtful.append(split_field(name))
            else:
                # A list that names no location has to go all the same.
                doubtful += [(name, place) for place in set(locations_in(named[name]) or [""])]
        doubtful = [pair for pair in doubtful if _is_asked(run, *pair)]
        await run.settle(doubtful, lambda pairs: _look(run, pairs))
        await run.rest()
        if not cursor:
            return


async def compare_inside(run: Comparison) -> None:
    """The ledger by itself: what somebody changed in Redis before a command came over it."""
    found: dict[Pair, Unexplained] = {}

    async def look(pairs: Sequence[Pair]) -> list[tuple[Pair, Difference]]:
        if any(pair not in found for pair in pairs):
            found.update(await _unexplained(run))
        return [(pair, _unexplained_difference(found.pop(pair))) for pair in pairs if pair in found]

    found = await _unexplained(run)
    await run.settle(list(found), look)


async def _unexplained(run: Comparison) -> dict[Pair, Unexplained]:
    # What is repaired but not yet recorded would be found, and repaired, once more.
    await run.settled()
    odd = await unexplained(run.ledger, run.rest)
    return {(o.sku, o.location): o for o in odd if _is_asked(run, o.sku, o.location)}


def _unexplained_difference(odd: Unexplained) -> Difference:
    return Difference(
        Drift(
            kind="level",
            sku=odd.sku,
            location=odd.location,
            found=shown(None, odd.level),
            expected=shown(None, odd.right),
        ),
        RepairLevel(sku=odd.sku, location=odd.location, found=odd.level, right=odd.right),
    )


async def _look(run: Comparison, pairs: Sequence[Pair]) -> list[tuple[Pair, Difference]]:
    """Exactly: as of the entry that was Redis's latest when it was read."""
    pairs = list(dict.fromkeys(pairs))
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
    sku, location = pair
    listed, should_be = _times_listed(listing, location), image is not None
    found, right = level_in(value), level_in(image)
    if value != image:
        drift = Drift(
            kind="level",
            sku=sku,
            location=location,
            found=shown(value, found),
            expected=shown(image, right),
        )
    elif listed != should_be:
        drift = Drift(
            kind="locations",
            sku=sku,
            location=location,
            found={"listed": listed},
            expected={"listed": int(should_be)},
        )
    else:
        return None
    return Difference(drift, RepairLevel(sku=sku, location=location, found=found, right=right))


def _times_listed(listing: bytes | None, location: str) -> int | None:
    """How often the SKU's list has the location; None where the list can't be read."""
    known = locations_in(listing)
    if known is None:
        return None
    if not known and listing is not None:
        return None  # a list of nothing is none that the script writes
    return known.count(location)


def _misplaced(run: Comparison, listing: bytes | None, expected: Collection[str]) -> Iterator[str]:
    """Locations that are not listed exactly as often as they should be."""
    listed = locations_in(listing)
    if listed is None:
        yield from expected
        return
    # In the order of their names, as expected; other than that the order is of no matter.
    if sorted(listed) == expected:
        return
    for location in {*listed, *expected}:
        if listed.count(location) != (location in expected) and _is_asked(run, None, location):
            yield location


def _is_asked(run: Comparison, sku: str | None, location: str) -> bool:
    scope = run.scope
    return (not scope.skus or sku is None or sku in scope.skus) and (
        not scope.locations or location in scope.locations
    )
