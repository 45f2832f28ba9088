"""The histories that script and model are given: small pools of names, and quantities around what
is there, so that commands meet each other.

Most histories do a bit of everything; the others keep to the few kinds of commands of one theme, on
one shelf, where these meet far more often (swarm testing).
"""

from typing import Any, get_args

from hypothesis import strategies as st
from msgspec import structs

from atp_service.identifiers import Refusal
from atp_service.inventory.commands import (
    Adjustment,
    AnyCommand,
    Confirm,
    Count,
    Expire,
    Extend,
    Forget,
    Fulfil,
    Heartbeat,
    Hold,
    HoldLine,
    Incoming,
    Lapse,
    LineTerms,
    LineUnits,
    NoPick,
    Park,
    Receipt,
    Release,
    Replace,
    Return,
    SafetyStock,
    Sale,
    Shipment,
    Snapshot,
    SnapshotClosed,
    StateChange,
    Terms,
    TransferReceived,
    TransferShipped,
    fingerprint,
)
from atp_service.inventory.stock import level_field, split_field
from tests.inventory.agreement import RIGHT, START, Aim, Damage, Mend, Step

skus = st.sampled_from(["A", "B"])
# An opening stocks DC and S1; a level at B1 comes later, and before both in its SKU's list.
places = st.sampled_from(["DC", "DC", "DC", "S1", "S1", "B1"])
quantities = st.sampled_from([1, 1, 2, 3])
reservation_ids = st.sampled_from(["r1", "r1", "r2", "r3"])
order_ids = st.sampled_from(["o1", "o2"])
line_ids = st.sampled_from(["1", "1", "2", "3"])
shipments = st.sampled_from([None, None, "s1", "s2"])
documents = st.sampled_from(["PO1", "T1"])
states = st.sampled_from(["sellable", "damaged", "quarantine"])
caller_keys = st.sampled_from([None, None, None, "k1", "k2"])
ttls = st.sampled_from([1_000, 2_000, 7_000])
times = st.integers(START - 6, START + 20_000) | st.sampled_from([START, START + 1_000])


reasons: st.SearchStrategy[Refusal] = st.sampled_from(get_args(Refusal))


def _lines(
    skus: st.SearchStrategy[str],
    places: st.SearchStrategy[str],
    refused: st.SearchStrategy[Refusal | None] = st.none(),  # noqa: B008 # immutable
) -> st.SearchStrategy[list[HoldLine]]:
    return st.lists(
        st.builds(
            HoldLine,
            line_id=line_ids,
            sku=skus,
            location=places,
            quantity=quantities,
            safety_stock=st.sampled_from([0, 0, 1]),
            granted=st.sampled_from([None, None, None, 0, 1, 2]),
            refused=refused,
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda line: line.line_id,
    )


hold_lines = _lines(skus, places)
some_lines = st.none() | st.lists(
    st.builds(LineUnits, line_id=line_ids, quantity=st.integers(1, 3)),
    min_size=1,
    max_size=2,
    unique_by=lambda line: line.line_id,
)


def _fact(kind: Any, **members: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        kind,
        source=st.sampled_from(["pos/1", "wms/1"]),
        event_id=st.integers(1, 60).map(str),
        occurred_at_ms=times,
        **members,
    )


@st.composite
def _hold(
    draw: st.DrawFn, kind: Any, lines_of: st.SearchStrategy[list[HoldLine]] = hold_lines
) -> AnyCommand:
    lines = draw(lines_of)
    more: dict[str, Any] = {}
    unnamed = [None] if kind is Replace else []
    if kind is Replace:
        more = {
            "if_generation": draw(st.sampled_from([None, None, 1, 2])),
            "key": draw(caller_keys),
            "terms_channel": draw(st.sampled_from(["", "web"])),
        }
    command: AnyCommand = kind(
        reservation_id=draw(reservation_ids),
        lines=lines,
        fingerprint=fingerprint(lines),
        ttl_ms=draw(ttls),
        channel=draw(st.sampled_from(["web", "web", "web", "", *unnamed])),
        customer_id=draw(st.sampled_from(["", "", "c1", *unnamed])),
        allow_partial=draw(st.sampled_from([False, False, True])),
        **more,
    )
    return command


_simple_hold = st.builds(
    lambda name, sku, place, quantity, ttl: Hold(
        reservation_id=name,
        lines=(lines := [HoldLine(line_id="1", sku=sku, location=place, quantity=quantity)]),
        fingerprint=fingerprint(lines),
        ttl_ms=ttl,
    ),
    reservation_ids,
    skus,
    places,
    quantities,
    ttls,
)
_stocked = _fact(
    Receipt, sku=skus, location=places, quantity=st.integers(1, 6), document=st.none() | documents
)
_sale: dict[str, Any] = {
    "sku": skus,
    "location": places,
    "quantity": quantities,
    "order_id": st.none() | order_ids,
    "reservation_id": st.none() | reservation_ids,
    "shipment_id": shipments,
}
_terms = st.builds(
    Terms,
    channel=st.sampled_from([RIGHT, RIGHT, RIGHT, "", "web"]),
    generation=st.sampled_from([0, 0, 0, 1]),
    lines=st.just([]),
)
_confirm = st.builds(
    Confirm,
    reservation_id=reservation_ids,
    order_id=order_ids,
    terms=_terms | _terms | st.none(),
    key=caller_keys,
)

promises: st.SearchStrategy[AnyCommand] = st.one_of(
    _simple_hold,
    _simple_hold,
    _hold(Hold),
    _hold(Replace),
    _confirm,
    _confirm,
    _confirm,
    st.builds(Extend, reservation_id=reservation_ids, ttl_ms=ttls, key=caller_keys),
    st.builds(Release, reservation_id=reservation_ids, lines=some_lines, key=caller_keys),
    st.builds(
        Fulfil,
        reservation_id=reservation_ids,
        lines=some_lines,
        location=st.none() | places,
        shipment_id=shipments,
        key=caller_keys,
    ),
    st.builds(
        NoPick,
        reservation_id=reservation_ids,
        line_id=line_ids,
        quantity=st.integers(1, 2),
        reason=st.sampled_from(["not_in_stock", "mismatch", "damaged", "display_worn"]),
        key=caller_keys,
    ),
    _fact(Sale, **_sale),
    _fact(Shipment, **_sale),
)
facts: st.SearchStrategy[AnyCommand] = st.one_of(
    _stocked,
    st.builds(Expire, limit=st.sampled_from([1, 2, 100])),
    st.builds(Lapse, reservation_id=reservation_ids),
    st.builds(
        Forget,
        reservation_ids=st.lists(reservation_ids, min_size=1, max_size=3, unique=True),
        order_ids=st.lists(order_ids, max_size=2, unique=True),
    ),
    _fact(
        Return,
        sku=skus,
        location=places,
        quantity=quantities,
        disposition=st.sampled_from(["restock", "damaged", "quality_control", "in_transit"]),
        document=documents,
    ),
    _fact(
        TransferShipped,
        sku=skus,
        from_location=places,
        to_location=places,
        quantity=quantities,
        document=documents,
        eta=st.sampled_from([None, "2026-12-01"]),
    ),
    _fact(TransferReceived, sku=skus, to_location=places, quantity=quantities, document=documents),
    _fact(Adjustment, sku=skus, location=places, quantity=st.integers(-5, 5).filter(bool)),
    _fact(
        Count,
        sku=skus,
        location=places,
        quantity=st.integers(0, 8),
        deltas_after=st.integers(-2, 2),
        moves=st.sampled_from([-1, -1, -1, 1]),
    ),
    _fact(
        Snapshot,
        sku=skus,
        location=places,
        quantity=st.integers(0, 6),
        policy=st.sampled_from(["correct", "review", "report"]),
        tolerance=st.sampled_from([0, 0, 1, 2, 3]),
        deltas_after=st.sampled_from([0, 0, 1, -1]),
        moves=st.sampled_from([-1, -1, -1, 1]),
    ),
    _fact(SnapshotClosed, location=places),
    _fact(
        StateChange,
        sku=skus,
        location=places,
        quantity=st.integers(1, 2),
        from_state=states,
        to_state=states,
    ),
    _fact(
        Incoming,
        sku=skus,
        location=places,
        quantity=st.integers(0, 6),
        document=documents,
        eta=st.sampled_from([None, "2026-12-02"]),
    ),
    _fact(Heartbeat),
    st.builds(
        SafetyStock,
        sku=skus,
        location=places,
        safety_stock=st.sampled_from([None, 0, 1, 2]),
        key=caller_keys,
    ),
    _fact(
        Park,
        reason=st.just("unknown-sku"),
        owner=st.just("integration"),
        subject=st.just("X"),
        detail=st.just(""),
        payload=st.just("{}"),
    ),
)

aims: st.SearchStrategy[Aim] = st.sampled_from(
    ["stay"] * 6
    + ["tick"] * 3
    + ["before", "before", "at", "at", "after", "last", "back", "window"]
)


def _steps(commands: st.SearchStrategy[AnyCommand]) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        aim=aims,
        promises_refused=st.sampled_from([False] * 19 + [True]),
        commands=st.lists(commands, min_size=1, max_size=5),
    )


steps = _steps(promises | promises | facts)


@st.composite
def _openings(draw: st.DrawFn) -> Step:
    """Something on every shelf, and two carts."""
    receipts: list[AnyCommand] = [
        Receipt(
            source="wms/0",
            event_id=f"{sku}{place}",
            occurred_at_ms=START - 10,
            sku=sku,
            location=place,
            quantity=draw(st.integers(1, 8)),
        )
        for sku in ("A", "B")
        for place in ("DC", "S1")
    ]
    return Step("stay", False, [*receipts, draw(_hold(Hold)), draw(_simple_hold)])


def _histories(steps: st.SearchStrategy[Step], at_most: int) -> st.SearchStrategy[list[Step]]:
    return st.builds(
        lambda opening, following: [opening, *following],
        _openings(),
        st.lists(steps, min_size=4, max_size=at_most),
    )


# The themes, each on one shelf.

_shelf: dict[str, Any] = {"sku": st.just("A"), "location": st.just("DC")}
_cart = _lines(st.just("A"), st.just("DC"))
_hold_there = _hold(Hold, _cart)

_selling: st.SearchStrategy[AnyCommand] = st.one_of(
    _hold_there,
    _hold(Replace, _cart),
    _hold(Replace, _cart),
    _confirm,
    st.builds(Release, reservation_id=reservation_ids, lines=some_lines, key=caller_keys),
    st.builds(
        SafetyStock,
        sku=st.just("A"),
        location=st.just("DC"),
        safety_stock=st.sampled_from([None, 0, 2]),
        key=st.none(),
    ),
    _fact(
        StateChange,
        **_shelf,
        quantity=st.just(1),
        from_state=st.just("sellable"),
        to_state=st.just("damaged"),
    ),
)
_refused_cart = _lines(st.just("A"), st.sampled_from(["DC", "S9"]), st.none() | st.none() | reasons)
_refusing: st.SearchStrategy[AnyCommand] = st.one_of(
    _hold(Hold, _refused_cart),
    _hold(Replace, _refused_cart),
    _hold(Replace, _cart),
    _confirm,
    st.builds(
        Confirm,
        reservation_id=reservation_ids,
        order_id=order_ids,
        terms=st.builds(
            Terms,
            channel=st.just(RIGHT),
            generation=st.just(0),
            lines=st.lists(
                st.builds(
                    LineTerms,
                    line_id=st.just(""),
                    sku=st.just(""),
                    location=st.just(""),
                    safety_stock=st.sampled_from([0, 2]),
                    refused=reasons,
                ),
                min_size=1,
                max_size=2,
            ),
        ),
    ),
    _hold_there,
)
_leaving: dict[str, Any] = {
    **_shelf,
    "quantity": st.just(1),
    "order_id": st.none() | order_ids,
    "reservation_id": st.none() | reservation_ids,
    "shipment_id": st.sampled_from([None, "s1"]),
}
_shipping: st.SearchStrategy[AnyCommand] = st.one_of(
    _hold_there,
    _hold_there,
    _confirm,
    _confirm,
    _fact(Sale, **_leaving),
    _fact(Shipment, **_leaving),
    st.builds(
        Fulfil,
        reservation_id=reservation_ids,
        lines=st.just([LineUnits(line_id="1", quantity=1)]),
        shipment_id=st.sampled_from([None, "s1"]),
    ),
)
_of_one_document: dict[str, Any] = {**_shelf, "document": st.just("PO1")}
_counting: st.SearchStrategy[AnyCommand] = st.one_of(
    _fact(
        Count,
        **_shelf,
        quantity=st.integers(0, 8),
        deltas_after=st.integers(-2, 2),
        moves=st.just(-1),
    ),
    _fact(
        Snapshot,
        **_shelf,
        quantity=st.integers(2, 4),
        policy=st.sampled_from(["correct", "review", "report"]),
        tolerance=st.sampled_from([0, 1]),
        deltas_after=st.sampled_from([0, 1, -1]),
        moves=st.just(-1),
    ),
    _fact(Adjustment, **_shelf, quantity=st.sampled_from([-2, 1])),
    _fact(Incoming, **_of_one_document, quantity=st.integers(0, 6), eta=st.none()),
    _fact(Receipt, **_of_one_document, quantity=st.integers(1, 3)),
)

_on_its_way: st.SearchStrategy[AnyCommand] = st.one_of(
    _fact(
        Incoming,
        **_of_one_document,
        quantity=st.sampled_from([0, 0, 2, 5]),
        eta=st.just("2026-12-02"),
    ),
    _fact(
        TransferShipped,
        sku=st.just("A"),
        from_location=st.just("S1"),
        to_location=st.just("DC"),
        quantity=st.integers(1, 3),
        document=st.just("PO1"),
    ),
    _fact(
        TransferReceived,
        sku=st.just("A"),
        to_location=st.just("DC"),
        quantity=st.integers(1, 3),
        document=st.just("PO1"),
    ),
    _fact(
        Return,
        **_of_one_document,
        quantity=st.integers(1, 2),
        disposition=st.sampled_from(["in_transit", "restock"]),
    ),
)
_hand_over = st.builds(
    Fulfil,
    reservation_id=st.just("r1"),
    lines=st.none() | st.just([LineUnits(line_id="1", quantity=1)]),
    shipment_id=st.sampled_from([None, "s1"]),
)
_not_found = st.builds(
    NoPick,
    reservation_id=st.just("r1"),
    line_id=st.just("1"),
    quantity=st.just(1),
    reason=st.just("not_in_stock"),
)


_of_the_order = _leaving | {
    "order_id": st.just("o1"),
    "reservation_id": st.sampled_from([None, None, "r1"]),
    "shipment_id": st.sampled_from([None, "s1", "s1"]),
}


@st.composite
def _at_the_counter(draw: st.DrawFn) -> list[AnyCommand]:
    """One cart's way to its end, with news around it: of units that left before the confirm, and of
    units counted while they are handed over."""
    lines = draw(_cart)
    return [
        Hold(reservation_id="r1", lines=lines, fingerprint=fingerprint(lines), ttl_ms=draw(ttls)),
        *draw(st.lists(_fact(Shipment, **_of_the_order), max_size=1)),
        Confirm(reservation_id="r1", order_id="o1"),
        *draw(
            st.lists(
                _fact(
                    Count,
                    **_shelf,
                    quantity=st.integers(0, 8),
                    deltas_after=st.just(0),
                    moves=st.just(-1),
                ),
                max_size=1,
            )
        ),
        *draw(st.lists(_hand_over | _not_found, min_size=1, max_size=2)),
    ]


@st.composite
def _left_before_confirm(draw: st.DrawFn) -> list[AnyCommand]:
    """Units that leave with a shipment before their confirm, and the same shipment after it."""
    cart, order = draw(st.sampled_from(["r1", "r3"])), draw(order_ids)
    shipment = draw(st.sampled_from(["s1", "s2"]))
    lines = [HoldLine(line_id="1", sku="A", location="DC", quantity=draw(st.sampled_from([2, 3])))]
    return [
        Hold(reservation_id=cart, lines=lines, fingerprint=fingerprint(lines), ttl_ms=draw(ttls)),
        draw(
            _fact(
                Shipment,
                **_shelf,
                quantity=st.just(1),
                order_id=st.just(order),
                shipment_id=st.just(shipment),
            )
        ),
        Confirm(reservation_id=cart, order_id=order),
        Fulfil(
            reservation_id=cart,
            lines=draw(st.none() | st.just([LineUnits(line_id="1", quantity=1)])),
            shipment_id=shipment,
        ),
    ]


def _moved(place: str) -> st.SearchStrategy[AnyCommand]:
    units = st.sampled_from([-2, 1, 3])
    return _fact(Adjustment, sku=st.just("A"), location=st.just(place), quantity=units)


@st.composite
def _asked_again(draw: st.DrawFn) -> list[AnyCommand]:
    """A cart of which there may be only a part, and the same once more."""
    lines = draw(_cart)
    cart: dict[str, Any] = {
        "reservation_id": draw(reservation_ids),
        "lines": lines,
        "fingerprint": fingerprint(lines),
        "ttl_ms": draw(ttls),
    }
    again = Replace(**cart, allow_partial=draw(st.booleans()))
    between = draw(st.lists(_moved("DC") | _confirm, max_size=1))
    return [draw(_moved("DC")), Hold(**cart, allow_partial=True), *between, again]


themes = (_selling, _refusing, _shipping, _counting, _on_its_way)


@st.composite
def _refused_meanwhile(draw: st.DrawFn) -> list[AnyCommand]:
    """A cart whose goods or shelf may not be sold any more when it is asked for again."""
    lines = draw(_cart)
    cart: dict[str, Any] = {
        "reservation_id": draw(reservation_ids),
        "fingerprint": fingerprint(lines),
        "ttl_ms": draw(ttls),
    }
    why = draw(st.lists(reasons, min_size=len(lines), max_size=len(lines)))
    refused = [
        structs.replace(line, refused=reason) for line, reason in zip(lines, why, strict=True)
    ]
    kind = draw(st.sampled_from([Hold, Replace]))
    return [
        Hold(lines=lines, **cart),
        *draw(st.lists(_confirm, max_size=1)),
        kind(lines=refused, **cart),
    ]


histories = st.one_of(
    _histories(steps, 14),
    _histories(steps, 14),
    *(
        _histories(_steps(theme), 8)
        for theme in (_selling, _refusing, _shipping, _counting, _on_its_way)
    ),
    _histories(
        st.builds(
            Step, aims, st.just(False), _at_the_counter() | _left_before_confirm() | _asked_again()
        ),
        4,
    ),
    _histories(st.builds(Step, aims, st.just(False), _refused_meanwhile()), 4),
)

# Damage of one value or two; then repairs, some of them twice or late, among what goes on.

level_images = st.builds(lambda sku, place: f"l{level_field(sku, place)}", skus, places)
reservation_images = reservation_ids.map("r{}".format)
order_images = order_ids.map("o{}".format)


def _mends(images: st.SearchStrategy[str]) -> st.SearchStrategy[Mend]:
    return st.builds(
        Mend,
        image=images,
        found=st.sampled_from(["now", "then", "then", "nothing"]),
        right=st.sampled_from(["then", "then", "then", "now", "nothing"]),
    )


def _trade_of(image: str) -> st.SearchStrategy[list[AnyCommand | Mend]]:
    """A batch that goes on with what was damaged."""
    if image[0] != "l":
        return st.lists(promises, min_size=1, max_size=2)
    sku, location = split_field(image[1:])
    units = st.sampled_from([-2, 1, 3])
    return st.lists(
        _fact(Adjustment, sku=st.just(sku), location=st.just(location), quantity=units),
        min_size=1,
        max_size=2,
    )


@st.composite
def _damaged_steps(draw: st.DrawFn) -> list[Step]:
    image = draw(level_images | level_images | reservation_images | order_images)
    beside = st.sampled_from([f"i{image[1]}", f"d{image}"])
    damages = st.builds(
        Damage,
        image=st.sampled_from([image] * 3) | beside,
        how=st.sampled_from(["gone", "unreadable", "other", "other", "other"]),
        units=st.integers(0, 6),
    )
    batches = st.lists(promises | facts | _mends(st.just(image)), min_size=1, max_size=4)
    traded = draw(_trade_of(image) | batches)
    damaged = Step(draw(aims), False, traded, [draw(damages)])
    mend: list[AnyCommand | Mend] = [draw(_mends(st.just(image)))] * draw(st.integers(1, 2))
    again = draw(st.lists(batches, max_size=2))
    mended = [Step(draw(aims), False, batch) for batch in [mend, *again]]
    return [damaged, *draw(st.lists(steps, max_size=2)), *mended]


# Where damage could spoil what it should not touch: rare in the above, so they are aimed at.

_on_shelf = f"l{level_field('A', 'DC')}"


def _unreadable(images: st.SearchStrategy[str]) -> st.SearchStrategy[Damage]:
    return st.builds(Damage, image=images, how=st.just("unreadable"), units=st.integers(0, 6))


_due_beside_others = st.builds(
    lambda damage, command: [Step("last", False, [command], [damage])],
    _unreadable(reservation_images),
    st.builds(Expire, limit=st.just(100)) | _hold_there,
)
_in_one_batch_with_others = st.builds(
    lambda damage, *commands: [Step("stay", False, commands, [damage])],
    _unreadable(st.just(_on_shelf)),
    _moved("DC"),
    _moved("S1"),
)
_repaired_late = st.builds(
    lambda units, command: [
        Step("stay", False, [command], [Damage(_on_shelf, "other", units)]),
        Step("tick", False, [Mend(_on_shelf, "then", "then")]),
    ],
    st.integers(0, 6),
    _moved("DC"),
)

damaged_histories = st.builds(
    lambda opening, confirms, before, *damaged: [
        opening,
        Step("stay", False, confirms),
        *before,
        *(step for steps in damaged for step in steps),
    ],
    _openings(),
    st.lists(_confirm | _fact(Sale, **_sale), max_size=2),
    st.lists(steps, max_size=3),
    _damaged_steps(),
    st.one_of(
        _damaged_steps(), st.just([]), _due_beside_others, _in_one_batch_with_others, _repaired_late
    ),
)
