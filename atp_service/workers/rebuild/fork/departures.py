"""Units that left a building on a fork's word, though their order's reservation is no more.

The ledger may have the reservation as released or expired, or not at all: then its fulfil no longer
fits, but the goods are gone, and would be sold again. So what the entry moved is told as facts.
"""

from collections import Counter
from collections.abc import Iterator

from msgspec import structs

from atp_service.inventory.commands import Adjustment, Fulfil, NoPick, Shipment, StateChange
from atp_service.inventory.journal import LEVEL, DecodedEntry, Head
from atp_service.inventory.model.fulfilment import NO_PICK_STATES
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import split_field
from atp_service.ledger.rebuilds import ForkEntry
from atp_service.workers.rebuild.fork.conflicts import SOURCE

Departure = Shipment | Adjustment | StateChange


def departures(
    entry: ForkEntry, decoded: DecodedEntry, known: Reservation | None, order_id: str | None
) -> list[Departure]:
    """What the entry did to the stock itself, as facts; `known` is the ledger's reservation.

    Their ids come from the entry, so that nothing happens twice, whoever tells it again. The last
    one says that the entry is done with.
    """
    head = decoded.head
    if not head.kind:
        return []  # it can't be read
    told: list[Departure] = []
    match decoded.command:
        case Fulfil() as command:
            told.extend(_shipments(entry, head, command, decoded, known, order_id))
        case NoPick() as command:
            told.extend(_not_found(entry, head, command, decoded))
    if told:
        told[-1] = structs.replace(told[-1], forked=entry.digest)
    return told


def _shipments(
    entry: ForkEntry,
    head: Head,
    command: Fulfil,
    decoded: DecodedEntry,
    known: Reservation | None,
    order_id: str | None,
) -> list[Shipment]:
    """Shipments, since the carrier's own news of one may come yet: it is known by its id then."""
    told = decoded.reservations.get(command.reservation_id)
    # What has left by the ledger's word too may be the same units, so it is not taken twice.
    left = _fulfilled(told)
    left.subtract(_fulfilled(known))
    shipments = []
    for place, (name, delta) in enumerate(
        zip(decoded.entry.keys(LEVEL), head.on_hand_deltas, strict=False)
    ):
        sku, location = split_field(name)
        units = -delta if told is None else min(-delta, left[sku])
        if units > 0:
            left[sku] -= units
            shipments.append(
                Shipment(
                    source=SOURCE,
                    event_id=_event_id(entry, place),
                    occurred_at_ms=head.at_ms,
                    sku=sku,
                    location=location,
                    quantity=units,
                    order_id=order_id,
                    reservation_id=command.reservation_id,
                    shipment_id=command.shipment_id,
                    document=command.erp_document,
                )
            )
    return shipments


def _not_found(
    entry: ForkEntry, head: Head, command: NoPick, decoded: DecodedEntry
) -> list[Adjustment | StateChange]:
    """Units that were not there, or can't be sold as they are."""
    told = decoded.reservations.get(command.reservation_id)
    lines = [line for line in told.lines if line.line_id == command.line_id] if told else []
    if command.reason in NO_PICK_STATES:
        return [
            StateChange(
                source=SOURCE,
                event_id=_event_id(entry, place),
                occurred_at_ms=head.at_ms,
                sku=line.sku,
                location=line.location,
                quantity=command.quantity,
                from_state="sellable",
                to_state=NO_PICK_STATES[command.reason],
            )
            for place, line in enumerate(lines)
        ]
    of_fork = f"fork-conflict {entry.epoch}:{entry.seq}: no-pick of {command.reservation_id}"
    return [
        Adjustment(
            source=SOURCE,
            event_id=_event_id(entry, place),
            occurred_at_ms=head.at_ms,
            sku=sku,
            location=location,
            quantity=delta,
            reason=of_fork,
        )
        for place, (name, delta) in enumerate(
            zip(decoded.entry.keys(LEVEL), head.on_hand_deltas, strict=False)
        )
        for sku, location in [split_field(name)]
        if delta
    ]


def _moved(decoded: DecodedEntry) -> Iterator[tuple[str, int]]:
    """The levels that the entry touched, with the units by which it moved their on_hand."""
    return zip(decoded.entry.keys(LEVEL), decoded.head.on_hand_deltas, strict=False)


def _fulfilled(reservation: Reservation | None) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in reservation.lines if reservation else ():
        units[line.sku] += line.fulfilled
    return units


def _event_id(entry: ForkEntry, place: int) -> str:
    return f"departed:{entry.seq}:{entry.digest[:16]}:{place}"
