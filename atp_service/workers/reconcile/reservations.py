"""Reservations and their deadlines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from atp_service.inventory.commands import RepairReservation
from atp_service.inventory.reservations import Reservation, decode_reservation
from atp_service.ledger.read import as_of_entry
from atp_service.ledger.read.as_of_entry import Kept
from atp_service.ledger.reconciliations import Drift
from atp_service.workers.reconcile import orders
from atp_service.workers.reconcile.raw_values import name_in, reservation_in, shown
from atp_service.workers.reconcile.run import PAGE, Comparison, Difference, unnameable

MEMBER = "r"  # what a reservation's deadline begins with


async def compare(run: Comparison) -> None:
    """Those that are open and those closed within the dedupe window; with them their orders."""
    began_ms = (await run.walk.moment()).now_ms
    await _compare_open(run)
    await _compare_closed(run, began_ms)


async def _compare_open(run: Comparison) -> None:
    after = ""
    while page := await as_of_entry.open_reservations_after(run.ledger, run.number, after, PAGE):
        await _compare_page(run, page)
        after = page[-1][0]


async def _compare_closed(run: Comparison, began_ms: int) -> None:
    """What closes meanwhile was open when we began, and has been compared."""
    began = datetime.fromtimestamp(began_ms / 1000, UTC)
    forgotten = datetime.fromtimestamp((began_ms - run.walk.window_ms) / 1000, UTC)
    after = (forgotten, "")
    while after[0] < began:
        page = await as_of_entry.closed_reservations_after(run.ledger, run.number, after, PAGE)
        if not page:
            return
        await _compare_page(run, [row[:3] for row in page])
        after = page[-1][3], page[-1][0]


async def _compare_page(run: Comparison, page: Sequence[tuple[str, str, bytes]]) -> None:
    ids = [row[0] for row in page]
    values, deadlines = await run.walk.with_deadlines(
        "reservations", ids, [f"{MEMBER}{key}" for key in ids]
    )
    doubtful = [
        key
        for (key, _, image), value, at_ms in zip(page, values, deadlines, strict=True)
        if value != image or not _in_time(run, decode_reservation(image), at_ms)
    ]
    await run.settle(doubtful, lambda keys: look(run, keys))
    run.report.compared.reservations += len(page)
    await run.rest()
    await orders.compare_some(run, list({order_id for _, order_id, _ in page if order_id}))


async def compare_back(run: Comparison) -> None:
    """What Redis has and the ledger doesn't, or has closed so long ago that it was not compared."""
    cursor = 0
    while True:
        cursor, found = await run.walk.scan("reservations", cursor, PAGE)
        now_ms = (await run.walk.moment()).now_ms
        ids = []
        for raw, _ in found:
            key = name_in(raw)
            if key is None:
                await run.settle([raw], unnameable("reservation"))
            else:
                ids.append(key)
        kept = await as_of_entry.kept_reservations(run.ledger, run.number, ids)
        doubtful = [key for key in ids if key not in kept or is_forgotten(kept[key], run, now_ms)]
        await run.settle(doubtful, lambda keys: look(run, keys))
        await run.rest()
        if not cursor:
            return


def doubtful_deadlines(
    run: Comparison, deadlines: Mapping[str, float], kept: Mapping[str, Kept]
) -> list[str]:
    """Those of the reservations whose deadlines, as Redis has them, need a closer look."""
    return [
        key
        for key, at_ms in deadlines.items()
        if (known := kept.get(key)) is None or (due := _due(run, known)) is None or at_ms > due
    ]


async def look(run: Comparison, keys: Sequence[str]) -> list[tuple[str, Difference]]:
    """Exactly: as of the entry that was Redis's latest when it was read."""
    keys = list(dict.fromkeys(keys))
    moment = await run.moment(reservations=keys, deadlines=[f"{MEMBER}{key}" for key in keys])
    images = await as_of_entry.reservations_as_of(run.ledger, run.number, keys, moment.seq)
    seen = zip(keys, moment.reservations, moment.deadlines, images, strict=True)
    return [
        (key, difference)
        for key, value, at_ms, image in seen
        if (difference := _difference(run, moment.now_ms, key, value, at_ms, image)) is not None
    ]


def _difference(
    run: Comparison,
    now_ms: int,
    key: str,
    value: bytes | None,
    at_ms: float | None,
    image: bytes | None,
) -> Difference | None:
    found, right = reservation_in(value), reservation_in(image)
    if value is None and right is not None and _may_be_gone(run, right, now_ms):
        image, right = None, None
    command = RepairReservation(
        reservation_id=key, found_seq=None if found is None else found.seq, right=right
    )
    if value != image:
        drift = Drift(
            kind="reservation",
            reservation_id=key,
            found=shown(value, found),
            expected=shown(image, right),
        )
    elif (right is None and at_ms is not None) or (
        right is not None and not _in_time(run, right, at_ms)
    ):
        drift = Drift(
            kind="deadline",
            reservation_id=key,
            found=at_ms,
            expected=None if right is None else _due_of(run, right),
        )
    else:
        return None
    return Difference(drift, command)


def is_forgotten(kept: Kept, run: Comparison, now_ms: int) -> bool:
    """Whether its window has passed; Redis may have it still."""
    return kept.closed_at_ms is not None and kept.closed_at_ms + run.walk.window_ms <= now_ms


def _may_be_gone(run: Comparison, right: Reservation, now_ms: int) -> bool:
    return right.closed_at > 0 and right.closed_at + run.walk.window_ms <= now_ms


def _in_time(run: Comparison, right: Reservation, at_ms: float | None) -> bool:
    """Whether the deadline does its work. One that is early does no harm: it is looked at, and
    set anew; one that a confirmed reservation has belongs to nothing."""
    due = _due_of(run, right)
    if due is None:
        return at_ms is None
    return at_ms is not None and at_ms <= due


def _due_of(run: Comparison, right: Reservation) -> int | None:
    if right.status == "held":
        return right.expires_at
    return right.closed_at + run.walk.window_ms if right.closed_at else None


def _due(run: Comparison, kept: Kept) -> int | None:
    if kept.status == "held":
        return kept.expires_at_ms
    return None if kept.closed_at_ms is None else kept.closed_at_ms + run.walk.window_ms
