"""What differed is said in words that a person can act on."""

from typing import Any

import pytest

from atp_service.inventory.commands import (
    Command,
    Expire,
    RepairLevel,
    RepairOrder,
    RepairReservation,
)
from atp_service.inventory.reservations import Line, Order, Reservation
from atp_service.inventory.stock import Document, Extras, StockLevel
from atp_service.ledger.write.repair_words import in_words, named, of_repair

TEN = StockLevel(on_hand=10, reserved=2, version=7, moves=3, updated_at=1_764_000_000_000)
HELD = Reservation(
    status="held",
    generation=1,
    channel="web",
    customer_id="",
    order_id="",
    created_at=1_764_000_000_000,
    expires_at=1_764_000_900_000,
    closed_at=0,
    kept_until=0,
    fingerprint="f",
    outcome="",
    seq=17,
    lines=[Line("1", "SKU-1", "DC-1", 2, reserved=2)],
)


def level(**changes: Any) -> StockLevel:
    return StockLevel(**{name: getattr(TEN, name) for name in TEN.__struct_fields__} | changes)


@pytest.mark.parametrize(
    ("found", "right", "words"),
    [
        (level(on_hand=15), TEN, "on_hand was 15, right is 10"),
        (
            level(on_hand=15, reserved=0),
            TEN,
            "on_hand was 15, right is 10; reserved was 0, right is 2",
        ),
        (
            level(extras=Extras(states={"damaged": 1})),
            TEN,
            "states damaged was 1, right is nothing",
        ),
        (
            level(extras=Extras(documents={"PO-1": Document(expected=5)})),
            level(extras=Extras(documents={"PO-1": Document(expected=7)})),
            "documents PO-1 expected was 5, right is 7",
        ),
        (level(updated_at=0), TEN, "updated_at was 0, right is 2025-11-24T16:00:00.000Z"),
        (None, StockLevel(on_hand=5), "nothing was there; right is on_hand 5"),
        (StockLevel(on_hand=5), None, "on_hand 5 was there; right is nothing"),
        (TEN, TEN, ""),
        (None, None, ""),
    ],
)
def test_of_two_levels_only_what_differs_is_said(
    found: StockLevel | None, right: StockLevel | None, words: str
) -> None:
    assert in_words(named(found), named(right)) == words


def test_what_cannot_be_read_is_not_called_nothing() -> None:
    assert in_words({"unreadable": "c1"}, named(StockLevel(on_hand=5))) == (
        "what was there can't be read; right is on_hand 5"
    )


def test_a_lines_units_are_found_inside_the_reservation() -> None:
    more = Reservation(
        **{name: getattr(HELD, name) for name in HELD.__struct_fields__}
        | {"lines": [Line("1", "SKU-1", "DC-1", 2, reserved=3)]}
    )
    assert in_words(named(more), named(HELD)) == "lines 1 reserved was 3, right is 2"


@pytest.mark.parametrize(
    ("repair", "words"),
    [
        (
            RepairLevel(sku="SKU-1", location="DC-1", found=level(on_hand=15), right=TEN),
            "on_hand was 15, right is 10",
        ),
        (
            RepairLevel(sku="SKU-1", location="DC-1", right=StockLevel(on_hand=5)),
            "nothing readable was there; right is on_hand 5",
        ),
        (RepairLevel(sku="SKU-1", location="DC-1", found=TEN, right=TEN), "list of the SKU's"),
        (RepairLevel(sku="SKU-1", location="DC-1"), "list of the SKU's"),
        (
            RepairReservation(reservation_id="cart-1", found_seq=12, right=HELD),
            "what entry 12 left was there; right is what entry 17 left (held)",
        ),
        (
            RepairReservation(reservation_id="cart-1", found_seq=17, right=HELD),
            "it was not what entry 17 left (held), or its deadline",
        ),
        (RepairReservation(reservation_id="cart-1", right=HELD), "nothing readable was there"),
        (RepairReservation(reservation_id="cart-1", found_seq=12), "right is nothing"),
        (
            RepairOrder(order_id="O-1", found=Order([], []), right=Order(["cart-1"], [])),
            "reservations 1 was nothing, right is cart-1",
        ),
        (
            RepairOrder(order_id="O-1", found=Order(["a"], []), right=Order(["a"], [])),
            "its deadline",
        ),
    ],
)
def test_a_repair_says_what_it_found(repair: Command, words: str) -> None:
    assert words in of_repair(repair)


def test_what_is_no_repair_found_nothing() -> None:
    assert of_repair(Expire(limit=1)) == ""
