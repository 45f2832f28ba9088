"""Facts: what tills, warehouses and the ERP report. They are never refused for lack of stock.

Mirrors `lua/facts.lua`.
"""

from atp_service.inventory.commands import (
    Adjustment,
    Count,
    Fact,
    Heartbeat,
    Incoming,
    Park,
    Receipt,
    Return,
    SafetyStock,
    Snapshot,
    SnapshotClosed,
    StateChange,
    TransferReceived,
    TransferShipped,
)
from atp_service.inventory.journal import Notice
from atp_service.inventory.model.stock import (
    SETTLED_DOCUMENTS_KEPT,
    Batch,
    append_entry,
    caller_key,
    change_state,
    level_of,
    mark_seen,
    move_on_hand,
    touch_level,
)
from atp_service.inventory.outcomes import Absorbed, Applied, Moved, Outcome, Parked, Unchanged
from atp_service.inventory.stock import Document, StockLevel, level_field


def settle_fact(b: Batch, command: Fact, moved: bool) -> Outcome:
    append_entry(b, command, "" if moved else "absorbed")  # type: ignore[arg-type]
    return Applied(b.entry()) if moved else Absorbed(b.entry())


def document_of(level: StockLevel, name: str) -> Document:
    return level.extras.documents.setdefault(name, Document())


def is_cancelled(b: Batch, document: Document, command: TransferShipped | Return) -> bool:
    """A document that was cancelled later than this was sent off: nothing more comes of it."""
    return document.expected == 0 and min(command.occurred_at_ms, b.now) <= document.expected_at


def settle_document(b: Batch, level: StockLevel, document: Document) -> None:
    """A document is settled when all that is expected has come, or nothing is known to be
    expected; the latest few settled ones are kept, for news that comes late.
    """
    settled = document.in_all is None or document.received >= document.in_all
    document.settled_at = b.now if settled else 0
    documents = level.extras.documents
    names = sorted(
        (name for name, other in documents.items() if other.settled_at),
        key=lambda name: (documents[name].settled_at, name.encode()),
    )
    for name in names[: max(0, len(names) - SETTLED_DOCUMENTS_KEPT)]:
        del documents[name]


def compare_transfer(
    b: Batch, command: TransferShipped | TransferReceived, document: Document
) -> None:
    """Both sides of a transfer are known: a difference is for a person, until it is made good."""
    shipped = document.shipped or 0
    if shipped > 0 and document.received > 0:
        difference = document.received - shipped
        (b.opened if difference else b.settled).append(
            Notice(
                "transfer-difference",
                command.sku,
                command.to_location,
                command.document,
                difference,
            )
        )


RETURN_STATES = {"damaged": "damaged", "quality_control": "quality_control"}


def customer_return(b: Batch, command: Return) -> Outcome:
    name = level_field(command.sku, command.location)
    level = touch_level(b, name)
    if command.disposition in ("in_transit", "to_dc"):
        document = document_of(level, command.document or "")
        if not is_cancelled(b, document, command):
            document.shipped = (document.shipped or 0) + command.quantity
        settle_document(b, level, document)
        return settle_fact(b, command, True)
    if command.disposition in RETURN_STATES:
        change_state(b, level, name, RETURN_STATES[command.disposition], command.quantity)
    on_its_way = level.extras.documents.get(command.document or "")
    if on_its_way is not None:  # has arrived
        on_its_way.received += command.quantity
        settle_document(b, level, on_its_way)
    return settle_fact(b, command, move_on_hand(b, level, command.quantity, command.occurred_at_ms))


def receipt(b: Batch, command: Receipt) -> Outcome:
    level = touch_level(b, level_field(command.sku, command.location))
    if command.document is not None:
        document = document_of(level, command.document)
        document.received += command.quantity
        settle_document(b, level, document)
    return settle_fact(b, command, move_on_hand(b, level, command.quantity, command.occurred_at_ms))


def transfer_shipped(b: Batch, command: TransferShipped) -> Outcome:
    origin = touch_level(b, level_field(command.sku, command.from_location))
    to = touch_level(b, level_field(command.sku, command.to_location))
    document = document_of(to, command.document)
    if not is_cancelled(b, document, command):
        document.shipped = (document.shipped or 0) + command.quantity
    document.eta = command.eta or document.eta
    document.transfer = True
    settle_document(b, to, document)
    compare_transfer(b, command, document)
    return settle_fact(
        b, command, move_on_hand(b, origin, -command.quantity, command.occurred_at_ms)
    )


def transfer_received(b: Batch, command: TransferReceived) -> Outcome:
    to = touch_level(b, level_field(command.sku, command.to_location))
    document = document_of(to, command.document)
    document.received += command.quantity
    document.transfer = True
    settle_document(b, to, document)
    compare_transfer(b, command, document)
    return settle_fact(b, command, move_on_hand(b, to, command.quantity, command.occurred_at_ms))


def adjustment(b: Batch, command: Adjustment) -> Outcome:
    level = touch_level(b, level_field(command.sku, command.location))
    return settle_fact(b, command, move_on_hand(b, level, command.quantity, command.occurred_at_ms))


def has_moved(level: StockLevel | None, command: Count | Snapshot) -> bool:
    """on_hand has changed since the command's deltas were added up."""
    return (level.moves if level else 0) != command.moves


def is_outdated(level: StockLevel | None, command: Count | Snapshot) -> bool:
    """Units were counted later than this: it says nothing new."""
    counted_at = level.extras.counted_at if level else None
    return counted_at is not None and command.occurred_at_ms < counted_at


def correct(b: Batch, level: StockLevel, command: Count | Snapshot) -> None:
    """on_hand as it was reported for then, and what has happened since."""
    level.extras.counted_at = min(command.occurred_at_ms, b.now)
    level.on_hand = command.quantity + command.deltas_after
    level.moves += 1


def count(b: Batch, command: Count) -> Outcome:
    """The counted units, and what has happened since; an older count says nothing new."""
    name = level_field(command.sku, command.location)
    if has_moved(level_of(b, name), command):
        return Moved()
    level = touch_level(b, name)
    if is_outdated(level, command):
        return settle_fact(b, command, False)
    correct(b, level, command)
    return settle_fact(b, command, True)


def snapshot(b: Batch, command: Snapshot) -> Outcome:
    """What the source believed, beside what we had then. The feed's policy decides on a
    difference; none, or one that was corrected, settles what an earlier one has opened.
    """
    name = level_field(command.sku, command.location)
    known = level_of(b, name)
    if has_moved(known, command):
        return Moved()
    if is_outdated(known, command):
        return settle_fact(b, command, False)
    difference = command.quantity + command.deltas_after - (known.on_hand if known else 0)
    beyond = abs(difference) > command.tolerance
    if beyond and command.policy == "correct":
        correct(b, touch_level(b, name), command)
    subject = ("snapshot-difference", command.sku, command.location)
    notice = Notice(*subject, command.source, difference)
    if not beyond or command.policy == "correct":
        b.settled.append(notice)
    elif command.policy == "review":
        b.opened.append(notice)
    if difference:
        b.noted.append(Notice(*subject, command.policy, difference))
    return settle_fact(b, command, True)


def snapshot_closed(b: Batch, command: SnapshotClosed) -> Outcome:
    """The source has reported all it has at the location."""
    return settle_fact(b, command, True)


def state_change(b: Batch, command: StateChange) -> Outcome:
    name = level_field(command.sku, command.location)
    level = touch_level(b, name)
    if command.from_state != "sellable":
        change_state(b, level, name, command.from_state, -command.quantity)
    if command.to_state != "sellable":
        change_state(b, level, name, command.to_state, command.quantity)
    return settle_fact(b, command, True)


def incoming(b: Batch, command: Incoming) -> Outcome:
    """What a document is expected to bring; older news than what is known changes nothing. 0
    cancels what is on its way, too.
    """
    level = touch_level(b, level_field(command.sku, command.location))
    document = document_of(level, command.document)
    reported_at = min(command.occurred_at_ms, b.now)
    newer = reported_at >= document.expected_at
    if newer:
        document.expected, document.expected_at = command.quantity, reported_at
        if command.quantity == 0 and document.shipped is not None:
            document.shipped = min(document.shipped, document.received)
        document.eta = command.eta or document.eta
    settle_document(b, level, document)
    return settle_fact(b, command, newer)


def heartbeat(b: Batch, _command: Heartbeat) -> Outcome:
    """It has been heard; that is all."""
    return Applied(b.entry(0))


def safety_stock(b: Batch, command: SafetyStock) -> Outcome:
    name = level_field(command.sku, command.location)
    known = level_of(b, name)
    before = known.extras.safety_stock if known else None
    if before == command.safety_stock:
        return Unchanged()
    touch_level(b, name).extras.safety_stock = command.safety_stock
    key = caller_key(command)
    if key is not None:
        mark_seen(b, key)
    append_entry(b, command)
    return Applied(b.entry())


def park(b: Batch, command: Park) -> Outcome:
    """What can't be applied is kept all the same; it doesn't make its feed any fresher."""
    append_entry(b, command)
    return Parked(b.entry())
