"""Orders' indexes: their reservations, units sold before they were confirmed, their deadlines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from atp_service.inventory.commands import RepairOrder
from atp_service.inventory.reservations import Order, decode_order
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.read.as_of_entry import EarlyOrder, Kept
from atp_service.ledger.read.partition import first_seq_since
from atp_service.ledger.reconciliations import Drift
from atp_service.store.scan import Moment
from atp_service.workers.reconcile.raw_values import name_in, order_in, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference, unnameable

MEMBER = "o"  # what an order's deadline begins with
_NO_RESERVATION = b"\x92\x90"  # how the image of an order begins that was not confirmed yet


async def compare_some(run: Comparison, ids: Sequence[str]) -> None:
    """The indexes of these orders, and that those with a reservation have no deadline."""
    images = await as_of_entry.order_images(run.ledger, run.number, ids)
    values, deadlines = await run.walk.with_deadlines(
        "orders", ids, [f"{MEMBER}{key}" for key in ids]
    )
    doubtful = []
    for key, value, at_ms in zip(ids, values, deadlines, strict=True):
        image, changed_at_ms = images.get(key, (None, 0))
        if value is None or value != image or at_ms != _due(run, image, changed_at_ms):
            doubtful.append(key)
    await run.settle(doubtful, lambda keys: look(run, keys))
    run.report.compared.orders += len(ids)
    await run.rest()


async def compare_early(run: Comparison) -> None:
    """Orders that units were sold for and that nobody has confirmed yet."""
    moment = await run.walk.moment()
    through = moment.seq
    since = datetime.fromtimestamp((moment.now_ms - run.walk.window_ms) / 1000, UTC)
    async with run.ledger.connection(as_of_entry.PAGE_SECONDS) as connection:
        after = await first_seq_since(connection, run.number, through, since) - 1
    while page := await as_of_entry.orders_after(run.ledger, run.number, after, through, PAGE):
        await compare_some(run, [row[0] for row in page if row[2].startswith(_NO_RESERVATION)])
        after = page[-1][1]


async def compare_back(run: Comparison) -> None:
    """What Redis has and the ledger doesn't."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan("orders", cursor, PAGE)
        named: dict[str, bytes] = {}
        for raw, value in found:
            key = name_in(raw)
            if key is None:
                await run.settle([raw], unnameable("order"))
            else:
                named[key] = value
        images = await as_of_entry.order_images(run.ledger, run.number, list(named))
        doubtful = [key for key, value in named.items() if images.get(key, (None,))[0] != value]
        await run.settle(doubtful, lambda keys: look(run, keys))
        await run.rest()
        if not cursor:
            return


async def doubtful_deadlines(run: Comparison, deadlines: Mapping[str, float]) -> list[str]:
    """Those of the orders whose deadlines, as Redis has them, need a closer look."""
    images = await as_of_entry.order_images(run.ledger, run.number, list(deadlines))
    return [
        key
        for key, at_ms in deadlines.items()
        if (known := images.get(key)) is None or at_ms != _due(run, *known)
    ]


async def look(run: Comparison, keys: Sequence[str]) -> list[tuple[str, Difference]]:
    """Exactly: as of the entry that was Redis's latest when it was read."""
    keys = list(dict.fromkeys(keys))
    known = await as_of_entry.order_images(run.ledger, run.number, keys)
    of_orders = {i for image, _ in known.values() for i in decode_order(image).reservations}
    reservations = sorted(of_orders)
    moment = await run.moment(
        orders=keys,
        reservations=reservations,
        deadlines=[f"{MEMBER}{key}" for key in keys],
    )
    images = await as_of_entry.orders_as_of(run.ledger, run.number, keys, moment.seq)
    present = {
        key
        for key, value in zip(reservations, moment.reservations, strict=True)
        if value is not None
    }
    kept = await as_of_entry.kept_reservations(run.ledger, run.number, reservations)
    found = []
    for place, (key, image) in enumerate(zip(keys, images, strict=True)):
        expected = order_in(image)
        early: list[int] = []
        if expected is not None and not expected.reservations:
            history = await as_of_entry.order_history(run.ledger, run.number, key, moment.seq)
            early = _early_deadlines(run, history)
        difference = _difference(run, moment, place, key, expected, early, present, kept)
        if difference is not None:
            found.append((key, difference))
    return found


def _difference(
    run: Comparison,
    moment: Moment,
    place: int,
    key: str,
    expected: Order | None,
    early: Sequence[int],
    present: set[str],
    kept: Mapping[str, Kept],
) -> Difference | None:
    value, at_ms = moment.orders[place], moment.deadlines[place]
    found = order_in(value)
    right = expected
    if expected is not None and expected.reservations:
        listed = [] if found is None else found.reservations
        ids = [
            i
            for i in expected.reservations
            if _is_listed(run, moment.now_ms, key, kept.get(i), i in present, i in listed)
        ]
        # With its last reservation the order is forgotten.
        right = Order(ids, expected.early) if ids else None
    elif value is None and early and min(early) <= moment.now_ms:
        right = None  # nobody waits for it any more
    unreadable = value is not None and found is None
    if unreadable or found != right:
        drift = Drift(
            kind="order",
            order_id=key,
            found=shown(value, found),
            expected=shown(None, right),
        )
    elif not _is_due(right, at_ms, early):
        drift = Drift(
            kind="deadline", order_id=key, found=at_ms, expected=early[-1] if early else None
        )
    else:
        return None
    return Difference(drift, RepairOrder(order_id=key, found=found, right=right))


def _is_listed(
    run: Comparison, now_ms: int, order_id: str, kept: Kept | None, present: bool, listed: bool
) -> bool:
    """Whether the order has this reservation still: both are forgotten in one step."""
    if kept is None or kept.order_id != order_id:
        # The id was forgotten, and is another reservation's by now: when, can't be told any more.
        return listed
    forgotten_at_ms = (kept.closed_at_ms or now_ms) + run.walk.window_ms
    return present or forgotten_at_ms > now_ms


def _is_due(right: Order | None, at_ms: float | None, early: Sequence[int]) -> bool:
    """An order that waits to be confirmed has a deadline; no other has."""
    if right is None or right.reservations:
        return at_ms is None
    return at_ms in early


def _early_deadlines(run: Comparison, history: Sequence[EarlyOrder]) -> list[int]:
    """When it may be forgotten: a window after units were first sold for it. Which of the sales
    was the first since it was last forgotten can't be told, so any will do; the latest first."""
    return [
        change.at_ms + run.walk.window_ms
        for change in history
        if not decode_order(change.image).reservations
    ]


def _due(run: Comparison, image: bytes | None, changed_at_ms: int) -> int | None:
    if image is None or not image.startswith(_NO_RESERVATION):
        return None
    return changed_at_ms + run.walk.window_ms
